//! However a fetch ends (a signal, a full or read-only disk, little memory), nothing half done is left under a final name and the
//! same command goes on to the same bytes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sightline_core::Seed;
use sightline_imaging::{Channels, EncodeSpec, Pixels, encode};
use sightline_testkit::http::Server;

use crate::util::{Outcome, Sandbox, files};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_mins(2);

/// Far less than any deadline here, and more than a busy machine needs to end a program.
const SOON: Duration = Duration::from_secs(30);

/// Rows of a shard, and shards of the table.
const ROWS: usize = 10;
const SHARDS: usize = 6;
/// The request of every test here, but for its table and its output. Nothing times out behind the gate, however busy the machine:
/// rows that failed would end the shard that a test keeps waiting.
const OPTIONS: &str =
    "--image-size 48 --number-sample-per-shard 10 --allow-private-addresses --timeout 600";

/// Holds back the answers to some requests until it is opened; it opens by itself when dropped, so that the server can end.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    is_open: bool,
    waiting: usize,
}

impl Gate {
    /// Waits until the gate is open.
    fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        changed.notify_all();
        while !state.is_open {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }

    /// Waits until somebody stands before the gate.
    fn await_somebody(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.waiting == 0 {
            let (now, waited) = changed
                .wait_timeout(state, LONG)
                .unwrap_or_else(PoisonError::into_inner);
            assert!(!waited.timed_out(), "nobody came to the gate");
            state = now;
        }
    }

    fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap_or_else(PoisonError::into_inner).is_open = true;
        changed.notify_all();
    }
}

/// Pictures on a server, some of them behind a gate, and what an undisturbed run makes of them.
struct World {
    sandbox: Sandbox,
    /// Opened before the server ends, whose threads wait for it.
    gate: Gate,
    _server: Server,
}

impl Drop for World {
    fn drop(&mut self) {
        self.gate.open();
    }
}

type Files = std::collections::BTreeMap<String, Vec<u8>>;

impl World {
    /// The rows from `gated` on are behind the gate.
    fn new(gated: usize) -> Self {
        let sandbox = Sandbox::new();
        let mut urls = String::new();
        for row in 0..ROWS * SHARDS {
            let seed = Seed(row as u64);
            sandbox.write(
                &format!("site/{row}.jpg"),
                picture(60 + row as u32, 50, seed),
            );
        }
        let gate = Gate::default();
        let held = gate.clone();
        let server = Server::start_with(
            sandbox.path("site"),
            0,
            Box::new(move |asked| {
                let row = asked.path.trim_matches(|c: char| !c.is_ascii_digit());
                if row.parse::<usize>().is_ok_and(|row| row >= gated) {
                    held.pass();
                }
                None
            }),
        )
        .unwrap();
        for row in 0..ROWS * SHARDS {
            writeln!(urls, "{}", server.url(&format!("/{row}.jpg"))).unwrap();
        }
        sandbox.write("urls.txt", urls);
        Self {
            sandbox,
            gate,
            _server: server,
        }
    }

    /// The command that makes `out`.
    fn line(out: &Path) -> String {
        format!("fetch urls.txt --out {} {OPTIONS}", out.display())
    }

    /// The bytes of a run that nobody disturbs; the gate has to be open.
    fn undisturbed(&self) -> Files {
        let out = self.sandbox.path("undisturbed");
        self.sandbox.sightline(&Self::line(&out)).expect(0);
        content(&out)
    }

    /// Runs the command once more, which is to end well and with the bytes of an undisturbed run.
    fn goes_on(&self, out: &Path) {
        self.gate.open();
        let again = self.sandbox.sightline(&Self::line(out)).expect(0);
        let expected = self.undisturbed();
        let found = content(out);
        assert_eq!(
            expected.keys().collect::<Vec<_>>(),
            found.keys().collect::<Vec<_>>(),
            "{again:?}"
        );
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{name} differs");
        }
    }
}

/// A JPEG file of noise, which no encoder makes small.
fn picture(width: u32, height: u32, seed: Seed) -> Vec<u8> {
    let mut rng = seed.rng();
    let data = (0..width as usize * height as usize * 3)
        .map(|_| rng.bits() as u8)
        .collect();
    let pixels = Pixels::new(width, height, Channels::Rgb, data).unwrap();
    encode(&pixels, &EncodeSpec::jpeg(95)).unwrap()
}

/// Shards and status tables; statistics hold times.
fn content(out: &Path) -> Files {
    files(out, |name| !name.ends_with("_stats.json"))
}

/// Every file in `out` belongs to a shard, and those under final names are whole.
#[track_caller]
fn holds_nothing_half_done(out: &Path) {
    for (name, bytes) in files(out, |_| true) {
        let is_whole = if name.ends_with(".tar") {
            bytes.len() % 10_240 == 0 && bytes.ends_with(&[0; 1024])
        } else if name.ends_with(".parquet") {
            bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1")
        } else if name.ends_with("_stats.json") {
            serde_json::from_slice::<serde_json::Value>(&bytes).is_ok()
        } else {
            false
        };
        assert!(is_whole, "{name} of {} bytes", bytes.len());
    }
}

fn finished(out: &Path) -> usize {
    if !out.is_dir() {
        return 0;
    }
    files(out, |name| name.ends_with("_stats.json")).len()
}

/// Waits until so many shards are finished.
fn await_finished(out: &Path, shards: usize) {
    let start = Instant::now();
    while finished(out) < shards {
        assert!(
            start.elapsed() < LONG,
            "{} of {shards} shards",
            finished(out)
        );
        thread::sleep(Duration::from_millis(2));
    }
}

/// What the system's `kill` does; the standard library knows only the signal that nobody can catch.
fn signal(child: &Child, name: &str) {
    let sent = shell(&format!("kill -{name} {}", child.id()));
    assert!(sent.status.success(), "{sent:?}");
}

/// The end of a program that was told to end, which is not to wait for any server.
fn end_of(mut child: Child) -> Outcome {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > SOON {
            child.kill().unwrap();
            panic!("still there after {SOON:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
    Outcome::of(&child.wait_with_output().unwrap())
}

fn shell(line: &str) -> Output {
    Command::new("sh").args(["-c", line]).output().unwrap()
}

#[test]
fn a_signal_ends_at_a_sample_edge_and_the_same_command_goes_on() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        // The third shard waits for one of its rows.
        let world = World::new(2 * ROWS + 7);
        let out = world.sandbox.path("out");
        let child = world
            .sandbox
            .command(World::line(&out).split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        world.gate.await_somebody();
        await_finished(&out, 2);
        signal(&child, name);
        let ended = end_of(child).expect(code);
        assert!(
            ended
                .stdout
                .contains("interrupted: run the same command again to go on"),
            "{ended:?}"
        );
        assert_eq!(finished(&out), 2);
        holds_nothing_half_done(&out);
        world.goes_on(&out);
    }
}

#[test]
fn a_signal_waits_for_no_server() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let sandbox = Sandbox::new();
        sandbox.write("site/row.jpg", picture(60, 50, Seed(1)));
        let server = Server::start(sandbox.path("site")).unwrap();
        let mut urls = format!("{}\n", server.url("/row.jpg"));
        // Without an answer, in the middle of a body, of a body that never ends, and rows that wait for their turn.
        for row in 0..40 {
            for fault in ["stall", "stall-body", "drip"] {
                writeln!(urls, "{}", server.url(&format!("/fault/{fault}?row={row}"))).unwrap();
            }
        }
        sandbox.write("urls.txt", urls);
        let child = sandbox
            .command(
                "fetch urls.txt --out out --number-sample-per-shard 1 --allow-private-addresses --timeout 600 \
                 --min-bytes-per-second 0 --obey-robots-txt"
                    .split_whitespace(),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = sandbox.path("out");
        await_finished(&out, 1);
        signal(&child, name);
        end_of(child).expect(code);
        assert_eq!(finished(&out), 1);
        holds_nothing_half_done(&out);
    }
}

#[test]
fn a_worker_that_is_told_to_end_gives_its_shard_back() {
    let world = World::new(2 * ROWS + 7);
    let run = |line: &str| world.sandbox.sightline(line);
    run(&format!("fetch plan urls.txt --out out {OPTIONS}")).expect(0);
    let child = world
        .sandbox
        .command("fetch work out --shards 0-5".split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    world.gate.await_somebody();
    let out = world.sandbox.path("out");
    await_finished(&out, 2);
    signal(&child, "TERM");
    end_of(child).expect(143);
    world.gate.open();
    // A lease that was left behind would keep the others away for minutes.
    run("fetch work out").expect(0);
    run("fetch finish out").expect(0);
    let found = files(&out, |name| {
        name.ends_with(".tar") || name.ends_with(".parquet")
    });
    assert!(found == world.undisturbed());
}

/// A file system of the test's own in memory, unmounted at the end.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// `None`, after a word about why, where this process may not mount.
    #[expect(clippy::print_stderr, reason = "says why a test is skipped")]
    fn mount(at: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let tried = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&at)
            .output();
        match tried {
            Ok(output) if output.status.success() => Some(Self { at }),
            Ok(output) => {
                let words = String::from_utf8_lossy(&output.stderr);
                eprintln!("skipped: mounting is refused: {}", words.trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: there is no mount: {error}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.at)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).output();
    }
}

#[test]
fn a_full_disk_ends_the_run_and_room_lets_it_go_on() {
    let world = World::new(usize::MAX);
    // Room for two shards and a part of the third.
    let one = {
        let expected = world.undisturbed();
        let of_first = |name: &String| name.starts_with("00000");
        let sizes = expected.iter().filter(|(name, _)| of_first(name));
        sizes.map(|(_, bytes)| bytes.len()).sum::<usize>()
    };
    let size = format!("size={}k", (one * 5 / 2) >> 10);
    let Some(disk) = Disk::mount(world.sandbox.path("disk"), &size) else {
        return;
    };
    let out = disk.at.join("out");
    let full = world.sandbox.sightline(&World::line(&out)).expect(4);
    assert!(
        full.stderr.contains("No space left on device"),
        "{}",
        full.stderr
    );
    let before = finished(&out);
    assert!((1..SHARDS).contains(&before), "{before} shards fit");
    holds_nothing_half_done(&out);
    // Again without room: as before, and nothing is lost.
    world.sandbox.sightline(&World::line(&out)).expect(4);
    assert_eq!(finished(&out), before);
    disk.remount("size=64m");
    world.goes_on(&out);
}

#[test]
fn a_file_that_may_not_grow_ends_the_run_like_a_full_disk() {
    let world = World::new(usize::MAX);
    let out = world.sandbox.path("out");
    // The limit is in half kilobytes; the signal that comes with it would end the program, and writing fails without it.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 24; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_sightline"))
        .args(World::line(&out).split_whitespace())
        .current_dir(world.sandbox.path(""))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let limited = Outcome::of(&output).expect(4);
    assert!(
        limited.stderr.contains("File too large"),
        "{}",
        limited.stderr
    );
    assert_eq!(finished(&out), 0);
    holds_nothing_half_done(&out);
    world.goes_on(&out);
}

#[test]
fn a_read_only_target_is_an_error_and_is_left_as_it_is() {
    let world = World::new(usize::MAX);
    let Some(disk) = Disk::mount(world.sandbox.path("disk"), "size=64m") else {
        return;
    };
    disk.remount("ro");
    let out = disk.at.join("out");
    let refused = world.sandbox.sightline(&World::line(&out)).expect(4);
    assert!(
        refused.stderr.contains("Read-only file system"),
        "{}",
        refused.stderr
    );
    disk.remount("rw");
    world.sandbox.sightline(&World::line(&out)).expect(0);
    let whole = content(&out);
    // What is finished needs nothing written.
    disk.remount("ro");
    world.sandbox.sightline(&World::line(&out)).expect(0);
    disk.remount("rw");
    std::fs::remove_file(out.join("00003_stats.json")).unwrap();
    disk.remount("ro");
    world.sandbox.sightline(&World::line(&out)).expect(4);
    assert!(content(&out) == whole);
    disk.remount("rw");
    world.goes_on(&out);
}

/// Rows of large pictures, sides and budget of the test of memory.
const LARGE_ROWS: usize = 120;
const LARGE: (u32, u32) = (2000, 1500);
const BUDGET_MIB: u64 = 32;
/// What a process of a debug build takes beside that: the pages of the program, threads, connections, what the allocator keeps.
const BASE_MIB: u64 = 150;

#[test]
fn memory_stays_below_its_bound_whatever_the_pictures() {
    let sandbox = Sandbox::new();
    let body = picture(LARGE.0, LARGE.1, Seed(1));
    let body_mib = body.len() as u64 >> 20;
    assert!(
        body_mib * LARGE_ROWS as u64 > 8 * BUDGET_MIB,
        "all bodies together are far more than the budget"
    );
    sandbox.write("site/large.jpg", &body);
    sandbox.write("site/last.jpg", &body);
    let gate = Gate::default();
    let held = gate.clone();
    let server = Server::start_with(
        sandbox.path("site"),
        0,
        Box::new(move |asked| {
            if asked.path == "/last.jpg" {
                held.pass();
            }
            None
        }),
    )
    .unwrap();
    let mut urls = large_urls(&server);
    writeln!(urls, "{}", server.url("/last.jpg")).unwrap();
    let options = format!("--number-sample-per-shard {LARGE_ROWS}");
    let mut child = fetch_within_budget(&sandbox, &urls, &options);
    // With the first shard finished only the last row is under way, and the peak is behind.
    let mark = sandbox.path("out/00000_stats.json");
    while !mark.exists() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(10));
    }
    let peak_mib = peak_kib(&child).map(|kib| kib >> 10);
    gate.open();
    assert!(child.wait().unwrap().success());
    drop(server);
    // On each thread the pixels of a picture and what decoding keeps beside them; a body beyond the budget.
    let pixels_mib = (u64::from(LARGE.0 * LARGE.1) * 3 * 2) >> 20;
    expect_peak(peak_mib, BASE_MIB + BUDGET_MIB + 2 * pixels_mib + body_mib);
}

#[test]
fn memory_stays_below_its_bound_while_all_wait_for_one_server() {
    let sandbox = Sandbox::new();
    let body = picture(LARGE.0, LARGE.1, Seed(1));
    let body_mib = body.len() as u64 >> 20;
    sandbox.write("site/large.jpg", &body);
    sandbox.write("site/first.jpg", &body);
    let gate = Gate::default();
    let held = gate.clone();
    let server = Server::start_with(
        sandbox.path("site"),
        0,
        Box::new(move |asked| {
            if asked.path == "/first.jpg" {
                held.pass();
            }
            None
        }),
    )
    .unwrap();
    let urls = format!("{}\n{}", server.url("/first.jpg"), large_urls(&server));
    let mut child = fetch_within_budget(&sandbox, &urls, "--disable-all-reencoding");
    // Nothing can be written before the first row, so that sooner or later nobody asks for more.
    let mut asked = 0;
    let mut still = 0;
    while still < 10 && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(100));
        let now = server.requests_total();
        still = if now == asked && now > 1 {
            still + 1
        } else {
            0
        };
        asked = now;
    }
    let peak_mib = peak_kib(&child).map(|kib| kib >> 10);
    gate.open();
    assert!(child.wait().unwrap().success());
    let rows = LARGE_ROWS as u64 + 1;
    assert!(
        asked < rows,
        "all {asked} rows were fetched behind the first"
    );
    // Rows that had to let others go first are asked for once more.
    assert!(server.requests_total() < 2 * rows);
    let stats = std::fs::read_to_string(sandbox.path("out/00000_stats.json")).unwrap();
    assert!(stats.contains(&format!("\"successes\": {rows}")), "{stats}");
    expect_peak(peak_mib, BASE_MIB + BUDGET_MIB + body_mib);
}

/// As many URLs of the large picture as there are rows, a line each.
fn large_urls(server: &Server) -> String {
    let rows = 0..LARGE_ROWS;
    let urls = rows.map(|row| server.url(&format!("/large.jpg?{row}")) + "\n");
    urls.collect()
}

/// Begins to fetch with little memory for bodies.
fn fetch_within_budget(sandbox: &Sandbox, urls: &str, options: &str) -> Child {
    sandbox.write("urls.txt", urls);
    let line = format!(
        "fetch urls.txt --out out --allow-private-addresses --per-host-connections 64 --thread-count 64 --timeout 600 \
         --image-threads 2 --memory-budget {BUDGET_MIB} {options}"
    );
    sandbox
        .command(line.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[expect(clippy::print_stderr, reason = "tests tell what they measure and skip")]
fn expect_peak(peak_mib: Option<u64>, bound_mib: u64) {
    let Some(peak_mib) = peak_mib else {
        eprintln!("skipped: /proc tells no peak of memory");
        return;
    };
    eprintln!("peak {peak_mib} MiB, bound {bound_mib} MiB");
    assert!(
        peak_mib <= bound_mib,
        "peak {peak_mib} MiB, bound {bound_mib} MiB"
    );
}

/// The largest memory of a process so far.
fn peak_kib(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
