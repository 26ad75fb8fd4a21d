//! Tells the program which commit it was built from, for its records. A source tree without git is fine.

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The index changes with every commit, checkout and `git add`; paths differ in worktrees.
    for path in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", path]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // Only this repository's own commit counts, not that of one it was unpacked in.
    let own = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| own);
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"]);
    if let Some(commit) = commit {
        let suffix = match dirty.as_deref() {
            Some("") => "",
            _ => "-dirty",
        };
        println!("cargo::rustc-env=SIGHTLINE_COMMIT={commit}{suffix}");
    }
}
