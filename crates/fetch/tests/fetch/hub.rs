//! Snapshots of model repositories: what comes over the network, what the cache holds, and what goes wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sightline_core::progress::Silent;
use sightline_core::{Digest, Hint, HubName};
use sightline_fetch::StopFlag;
use sightline_fetch::hub::{HubError, HubSpec, Snapshot, Wanted, snapshot};
use sightline_testkit::hub::{BRANCH, File, Hub};
use tempfile::TempDir;

const REPO: &str = "owner/tiny";

/// A hub with a configuration, weights and what nobody wants, and an empty cache.
fn hub() -> (Hub, TempDir) {
    let weights: Vec<u8> = (0..200_000u32).map(|i| i.wrapping_mul(i) as u8).collect();
    let files = [
        ("config.json", File::small("{\"model_type\": \"clip\"}")),
        ("model.safetensors", File::large(weights)),
        ("README.md", File::small("# Tiny")),
        ("onnx/model.onnx", File::large("never wanted")),
    ];
    (
        Hub::start(REPO, files).unwrap(),
        tempfile::tempdir().unwrap(),
    )
}

fn spec(hub: &Hub, cache: &TempDir) -> HubSpec {
    HubSpec {
        endpoint: hub.endpoint(),
        allow_private_addresses: true,
        timeout: Duration::from_secs(5),
        retries: 0,
        ..HubSpec::new(cache.path())
    }
}

fn name(revision: &str) -> HubName {
    format!("hf:{REPO}@{revision}").parse().unwrap()
}

/// The configuration and the weights.
fn choose(files: &[String]) -> Wanted {
    let wanted = ["config.json", "model.safetensors"];
    let files: Vec<String> = files
        .iter()
        .filter(|file| wanted.contains(&file.as_str()))
        .cloned()
        .collect();
    Wanted {
        is_enough: files.len() == wanted.len(),
        files,
    }
}

fn get(spec: &HubSpec, revision: &str) -> Result<Snapshot, HubError> {
    snapshot(&name(revision), spec, &choose, &Silent, &StopFlag::new())
}

fn repository(cache: &TempDir) -> PathBuf {
    cache.path().join("models--owner--tiny")
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_has_the_layout_of_the_hubs_own_tools() {
    let (hub, cache) = hub();
    let found = get(&spec(&hub, &cache), BRANCH).unwrap();
    assert_eq!(found.commit, hub.commit());
    let root = repository(&cache);
    assert_eq!(found.folder, root.join("snapshots").join(hub.commit()));
    assert_eq!(names(&root), ["blobs", "refs", "snapshots"]);
    assert_eq!(names(&found.folder), ["config.json", "model.safetensors"]);
    // As huggingface_hub writes it, without a line end.
    assert_eq!(
        fs::read_to_string(root.join("refs/main")).unwrap(),
        hub.commit()
    );
    let weights = fs::read(found.folder.join("model.safetensors")).unwrap();
    assert_eq!(found.downloaded_bytes, weights.len() as u64 + 22);
    let blobs = names(&root.join("blobs"));
    assert_eq!(blobs.len(), 2);
    let digest = Digest::of(&weights).to_string();
    assert!(blobs.contains(&digest), "{blobs:?}");
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(found.folder.join("model.safetensors")).unwrap(),
        PathBuf::from(format!("../../blobs/{digest}"))
    );

    // A branch is asked about again, and nothing is downloaded again.
    let before = hub.requests_total();
    let again = get(&spec(&hub, &cache), BRANCH).unwrap();
    assert_eq!(
        (again.downloaded_bytes, again.folder),
        (0, found.folder.clone())
    );
    assert_eq!(hub.requests_total(), before + 1);
    // A commit is not asked about at all.
    get(&spec(&hub, &cache), &hub.commit()).unwrap();
    assert_eq!(hub.requests_total(), before + 1);
}

#[test]
fn a_new_commit_shares_what_did_not_change() {
    let (hub, cache) = hub();
    let first = get(&spec(&hub, &cache), BRANCH).unwrap();
    hub.commit_file("config.json", File::small("{\"model_type\": \"align\"}"));
    let second = get(&spec(&hub, &cache), BRANCH).unwrap();
    assert_ne!(first.commit, second.commit);
    assert_eq!(second.downloaded_bytes, 23);
    assert_eq!(names(&repository(&cache).join("blobs")).len(), 3);
    let config = |of: &Snapshot| fs::read_to_string(of.folder.join("config.json")).unwrap();
    assert!(config(&first).contains("clip") && config(&second).contains("align"));
}

#[test]
fn a_cache_of_the_hubs_own_tools_is_read_without_the_network() {
    // As huggingface_hub lays it out, by hand.
    let cache = tempfile::tempdir().unwrap();
    let (root, commit) = (
        repository(&cache),
        "1234567890abcdef1234567890abcdef12345678",
    );
    let folder = root.join("snapshots").join(commit);
    for below in ["blobs", "refs", "snapshots"] {
        fs::create_dir_all(root.join(below)).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    for (file, etag) in [
        ("config.json", "a".repeat(40)),
        ("model.safetensors", "b".repeat(64)),
    ] {
        fs::write(root.join("blobs").join(&etag), file).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(format!("../../blobs/{etag}"), folder.join(file)).unwrap();
        #[cfg(not(unix))]
        fs::copy(root.join("blobs").join(&etag), folder.join(file)).unwrap();
    }
    fs::write(root.join("refs/main"), commit).unwrap();

    let offline = HubSpec {
        offline: true,
        endpoint: "http://127.0.0.1:1".to_owned(),
        ..HubSpec::new(cache.path())
    };
    for revision in [commit, "main"] {
        let found = get(&offline, revision).unwrap();
        assert_eq!((found.commit.as_str(), found.downloaded_bytes), (commit, 0));
        assert_eq!(found.folder, folder);
    }
    // A commit does not need the switch; this address answers nobody.
    let online = HubSpec {
        offline: false,
        ..offline.clone()
    };
    assert_eq!(get(&online, commit).unwrap().folder, folder);

    // Without the network there is nothing else, nor is a snapshot enough whose blob is gone.
    for revision in ["v2", &"0".repeat(40)] {
        let error = get(&offline, revision).unwrap_err();
        assert!(matches!(error, HubError::Offline { .. }), "{error}");
        assert!(error.hints()[0].contains("--offline"));
    }
    fs::remove_file(root.join("blobs").join("b".repeat(64))).unwrap();
    #[cfg(unix)]
    assert!(matches!(
        get(&offline, "main"),
        Err(HubError::Offline { .. })
    ));
}

#[test]
fn a_download_that_breaks_off_is_continued() {
    let (hub, cache) = hub();
    let spec = spec(&hub, &cache);
    hub.cut_downloads(1);
    let error = get(&spec, BRANCH).unwrap_err();
    let root = repository(&cache);
    // Nothing half-done looks done.
    assert!(!root.join("refs/main").exists(), "{error}");
    let begun = names(&root.join("blobs"));
    let begun = begun
        .iter()
        .find(|blob| blob.ends_with(".incomplete"))
        .unwrap();
    let half = fs::metadata(root.join("blobs").join(begun)).unwrap().len();
    assert_eq!(half, 100_000);

    let found = get(&spec, BRANCH).unwrap();
    assert_eq!((found.downloaded_bytes, hub.resumed()), (100_000, 1));
    let blobs = names(&root.join("blobs"));
    assert!(
        blobs.iter().all(|blob| !blob.ends_with(".incomplete")),
        "{blobs:?}"
    );

    // With retries in one call.
    let (other, cache) = self::hub();
    other.cut_downloads(2);
    let patient = HubSpec {
        retries: 2,
        ..self::spec(&other, &cache)
    };
    assert_eq!(get(&patient, BRANCH).unwrap().downloaded_bytes, 200_022);
    assert_eq!(other.resumed(), 2);
}

#[test]
fn other_bytes_than_the_hub_says_are_thrown_away() {
    let (hub, cache) = hub();
    let spec = spec(&hub, &cache);
    hub.lie(true);
    let error = get(&spec, BRANCH).unwrap_err();
    assert!(matches!(error, HubError::Digest { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("`model.safetensors` has the SHA-256 ")
    );
    let blobs = names(&repository(&cache).join("blobs"));
    assert_eq!(blobs.len(), 1, "{blobs:?}");
    hub.lie(false);
    get(&spec, BRANCH).unwrap();

    // A beginning that is another file's is noticed at the end.
    let (hub, cache) = self::hub();
    let spec = self::spec(&hub, &cache);
    hub.cut_downloads(1);
    hub.lie(true);
    get(&spec, BRANCH).unwrap_err();
    hub.lie(false);
    assert!(matches!(get(&spec, BRANCH), Err(HubError::Digest { .. })));
    get(&spec, BRANCH).unwrap();
}

#[test]
fn a_hub_that_is_away_leaves_what_was_current_last_time() {
    let (hub, cache) = hub();
    let spec = spec(&hub, &cache);
    hub.go_down(true);
    let error = get(&spec, BRANCH).unwrap_err();
    assert!(
        matches!(error, HubError::Status { status: 503, .. }),
        "{error}"
    );
    hub.go_down(false);
    let found = get(&spec, BRANCH).unwrap();
    hub.go_down(true);
    assert_eq!(get(&spec, BRANCH).unwrap().commit, found.commit);
    drop(hub);
    assert_eq!(get(&spec, BRANCH).unwrap().folder, found.folder);
}

#[test]
fn what_the_hub_does_not_have_is_told() {
    let (hub, cache) = hub();
    let spec = spec(&hub, &cache);
    let error = get(&spec, "nowhere").unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert_eq!(
        error.to_string(),
        "the hub does not show `hf:owner/tiny@nowhere` (404)"
    );
    let nothing = |_: &[String]| Wanted::default();
    let error = snapshot(&name(BRANCH), &spec, &nothing, &Silent, &StopFlag::new()).unwrap_err();
    assert!(matches!(error, HubError::Nothing { .. }), "{error}");
    for endpoint in ["ftp://example.com", "nothing", "mailto:a@b"] {
        let spec = HubSpec {
            endpoint: endpoint.to_owned(),
            ..spec.clone()
        };
        assert!(
            matches!(get(&spec, BRANCH), Err(HubError::Endpoint { .. })),
            "{endpoint}"
        );
    }
    // The hub's own address has to be public unless the caller says otherwise.
    let strict = HubSpec {
        allow_private_addresses: false,
        ..spec
    };
    let error = get(&strict, BRANCH).unwrap_err();
    assert!(matches!(error, HubError::Redirect { .. }), "{error}");
}

#[test]
fn a_stop_ends_a_download_that_the_next_call_continues() {
    let (hub, cache) = hub();
    let spec = spec(&hub, &cache);
    let stop = StopFlag::new();
    stop.stop();
    let error = snapshot(&name(BRANCH), &spec, &choose, &Silent, &stop).unwrap_err();
    assert!(matches!(error, HubError::Stopped { .. }), "{error}");
    get(&spec, BRANCH).unwrap();
}

#[test]
fn names_of_files_cannot_leave_the_cache() {
    for bad in ["../escape", "/etc/passwd", "a/../../b", "a\\\\b", "C:x"] {
        let files = [("config.json", File::small("{}")), (bad, File::large("x"))];
        let hub = Hub::start(REPO, files).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let everything = |files: &[String]| Wanted {
            files: files.to_vec(),
            is_enough: true,
        };
        let spec = spec(&hub, &cache);
        let taken = snapshot(&name(BRANCH), &spec, &everything, &Silent, &StopFlag::new());
        assert!(
            matches!(taken, Err(HubError::Malformed { .. })),
            "{bad}: {taken:?}"
        );
        assert!(!repository(&cache).exists(), "{bad}");
    }
}

#[cfg(unix)]
#[test]
fn two_processes_do_not_write_one_blob() {
    let (hub, cache) = hub();
    let spec = spec(&hub, &cache);
    hub.cut_downloads(1);
    get(&spec, BRANCH).unwrap_err();
    let blobs = repository(&cache).join("blobs");
    let begun = names(&blobs)
        .into_iter()
        .find(|blob| blob.ends_with(".incomplete"));
    let held = fs::File::open(blobs.join(begun.unwrap())).unwrap();
    held.lock().unwrap();
    let error = get(&spec, BRANCH).unwrap_err();
    assert!(matches!(error, HubError::Busy { .. }), "{error}");
    drop(held);
    get(&spec, BRANCH).unwrap();
}
