//! `sightline fetch`: equal bytes, every row accounted for, closed doors.

use std::collections::BTreeMap;

use sightline_testkit::golden::Root;
use sightline_testkit::http::Server;

use crate::util::{Sandbox, files};

#[test]
fn the_same_table_twice_gives_byte_identical_tars() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 1 --val 1 --test 60")
        .expect(0);
    let server = Server::start(sandbox.path("scenes")).unwrap();
    let table = std::fs::read_to_string(sandbox.path("scenes/urls/test.csv")).unwrap();
    sandbox.write(
        "urls.csv",
        table.replace(
            "http://127.0.0.1:8000",
            server.url("").trim_end_matches('/'),
        ),
    );
    for (out, threads) in [("a", 1), ("b", 64)] {
        sandbox
            .sightline(&format!(
                "fetch urls.csv --out {out} --caption-col caption --save-additional-columns captions \
                 --image-size 48 --number-sample-per-shard 25 --thread-count {threads} \
                 --allow-private-addresses"
            ))
            .expect(0);
    }
    let [a, b] =
        ["a", "b"].map(|out| files(&sandbox.path(out), |name| !name.ends_with("_stats.json")));
    assert_eq!(
        a.keys().map(String::as_str).collect::<Vec<_>>(),
        [
            "00000.parquet",
            "00000.tar",
            "00001.parquet",
            "00001.tar",
            "00002.parquet",
            "00002.tar"
        ]
    );
    assert!(a == b, "the two runs differ");
}

/// MDS and litData folders are read by their index: it is there when all shards are, and only then.
#[test]
fn folders_that_are_read_by_an_index_have_it_at_the_end() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 1 --val 1 --test 30")
        .expect(0);
    let server = Server::start(sandbox.path("scenes")).unwrap();
    let table = std::fs::read_to_string(sandbox.path("scenes/urls/test.csv")).unwrap();
    let base = server.url("");
    sandbox.write(
        "urls.csv",
        table.replace("http://127.0.0.1:8000", base.trim_end_matches('/')),
    );
    for format in ["litdata", "mds", "mds-zstd"] {
        let options = format!(
            "urls.csv --output-format {format} --image-size 48 --number-sample-per-shard 10 \
             --allow-private-addresses"
        );
        let line = format!("fetch {options} --out {format}");
        sandbox.sightline(&line).expect(0);
        let whole = files(&sandbox.path(format), |name| !name.ends_with("_stats.json"));
        assert!(whole.contains_key("index.json"), "{format}");
        sandbox
            .sightline(&format!("shards info {format}"))
            .expect(0);

        let mark = sandbox.path(format).join("00001_stats.json");
        std::fs::remove_file(mark).unwrap();
        std::fs::remove_file(sandbox.path(format).join("index.json")).unwrap();
        sandbox.sightline(&line).expect(0);
        let again = files(&sandbox.path(format), |name| !name.ends_with("_stats.json"));
        assert!(again == whole, "{format}");

        let planned = format!("{format}-planned");
        sandbox
            .sightline(&format!("fetch plan {options} --out {planned}"))
            .expect(0);
        sandbox
            .sightline(&format!("fetch work {planned}"))
            .expect(0);
        sandbox
            .sightline(&format!("fetch finish {planned}"))
            .expect(0);
        let made = files(&sandbox.path(&planned), |name| {
            !name.ends_with("_stats.json") && name != "dataset.json" && name != "fetch-plan.json"
        });
        assert!(made == whole, "{format} planned");
    }
}

#[test]
fn private_addresses_are_refused_unless_allowed() {
    let sandbox = Sandbox::new();
    sandbox.write("secret.jpg", "not for you");
    let server = Server::start(sandbox.path("")).unwrap();
    let url = server.url("/secret.jpg");
    sandbox.write("urls.csv", format!("url\n{url}\nfile:///etc/hostname\n"));
    let summary = sandbox
        .sightline("fetch urls.csv --out shards --json")
        .expect(0)
        .json();
    assert_eq!(summary["rows"], 2);
    assert_eq!(summary["successes"], 0);
    assert_eq!(server.requests("/secret.jpg"), 0, "the server was asked");

    let allowed = sandbox
        .sightline("fetch urls.csv --out allowed --allow-private-addresses --json")
        .expect(0)
        .json();
    assert_eq!(server.requests("/secret.jpg"), 1, "{allowed}");
    assert_eq!(allowed["failed_to_resize"], 1, "{allowed}");
    assert_eq!(
        allowed["failed_to_download"], 1,
        "a file URL is never opened: {allowed}"
    );
}

/// Every hostile file is served; every row ends in the statistics, and the run ends.
#[test]
fn hostile_images_end_as_rows() {
    let root = Root::find();
    let Some(folder) = root.area("hostile-images") else {
        return;
    };
    let names: Vec<String> = files(&folder, |name| {
        !name.ends_with(".csv") && !name.ends_with(".md")
    })
    .into_keys()
    .collect();
    let sandbox = Sandbox::new();
    let server = Server::start(&folder).unwrap();
    let rows: Vec<String> = names
        .iter()
        .map(|name| server.url(&format!("/{name}")))
        .collect();
    sandbox.write("urls.txt", rows.join("\n"));
    let summary = sandbox
        .sightline(
            "fetch urls.txt --out shards --number-sample-per-shard 20 --allow-private-addresses --json",
        )
        .expect(0)
        .json();
    assert_eq!(summary["rows"].as_u64(), Some(names.len() as u64));

    let mut counted = 0;
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for (name, bytes) in files(&sandbox.path("shards"), |name| {
        name.ends_with("_stats.json")
    }) {
        let stats: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        counted += stats["count"].as_u64().unwrap();
        let of_shard: u64 = stats["status_dict"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(reason, n)| {
                *reasons.entry(reason.clone()).or_default() += n.as_u64().unwrap();
                n.as_u64().unwrap()
            })
            .sum();
        assert_eq!(stats["count"].as_u64(), Some(of_shard), "{name}");
    }
    assert_eq!(counted, names.len() as u64, "{reasons:?}");
    assert!(
        reasons.len() >= 4,
        "classes of errors are told apart: {reasons:?}"
    );
}

#[test]
fn a_run_can_be_watched_by_machines_and_looked_at_afterwards() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 1 --val 1 --test 30")
        .expect(0);
    let server = Server::start(sandbox.path("scenes")).unwrap();
    let table = std::fs::read_to_string(sandbox.path("scenes/urls/test.csv")).unwrap();
    let base = server.url("");
    let table = table.replace("http://127.0.0.1:8000", base.trim_end_matches('/'));
    let header = table.lines().next().unwrap().split(',').count();
    sandbox.write(
        "urls.csv",
        format!(
            "{table}{}{}\n",
            server.url("/missing.jpg"),
            ",".repeat(header - 1)
        ),
    );
    let outcome = sandbox
        .sightline(
            "fetch urls.csv --out shards --caption-col caption --number-sample-per-shard 10 \
             --allow-private-addresses --progress json --metrics-port 0",
        )
        .expect(0);
    assert!(
        outcome.stderr.contains("counts at http://127.0.0.1:"),
        "{}",
        outcome.stderr
    );
    let last = outcome.stderr.lines().last().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(
        (&last["done"], &last["total"]),
        (&31.into(), &31.into()),
        "{last}"
    );
    assert_eq!(
        (&last["images"], &last["failed_to_download"]),
        (&30.into(), &1.into())
    );
    assert_eq!(last["failures"]["HTTP Error 404: Not Found"], 1);

    sandbox
        .sightline("fetch report shards --images 12")
        .expect(0);
    let page = std::fs::read_to_string(sandbox.path("shards/report.html")).unwrap();
    for text in [
        "HTTP Error 404: Not Found",
        "30 (96.8 %)",
        "127.0.0.1",
        "data:image",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.matches("<img ").count(), 12);
    sandbox.sightline("fetch report scenes").expect(2);
}

#[test]
fn captions_come_from_another_table_and_rows_that_it_lacks_are_named() {
    let sandbox = Sandbox::new();
    sandbox
        .sightline("synth scenes --out scenes --train 1 --val 1 --test 4")
        .expect(0);
    let server = Server::start(sandbox.path("scenes")).unwrap();
    let table = std::fs::read_to_string(sandbox.path("scenes/urls/test.csv")).unwrap();
    let urls: Vec<String> = table
        .lines()
        .flat_map(|line| line.split(','))
        .filter_map(|cell| cell.strip_prefix("http://127.0.0.1:8000"))
        .map(|path| server.url(path))
        .collect();
    assert_eq!(urls.len(), 4, "{table}");
    sandbox.write("urls.txt", urls.join("\n"));
    let line = |url: &str, text: &str| format!("{{\"place\":\"{url}\",\"text\":\"{text}\"}}\n");
    let [first, last] = [line(&urls[0], "one"), line(&urls[3], "four")];
    sandbox.write("texts.jsonl", first + &last + &line(&urls[0], "again"));
    let ended = sandbox
        .sightline(
            "fetch urls.txt --out out --join texts.jsonl --join-key place --join-caption-col text \
             --allow-private-addresses --oom-shard-count 3 --image-size 32",
        )
        .expect(0);
    for said in [
        "  2 rows are not in the joined table: 0000001, 0000002\n",
        "  1 of the 3 rows of the joined table have a key that an earlier one has, and are not used\n",
    ] {
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
    }
    let tar = std::fs::read(sandbox.path("out/000.tar")).unwrap();
    let holds = |text: &str| {
        tar.windows(text.len())
            .any(|bytes| bytes == text.as_bytes())
    };
    assert!(holds("\"caption\": \"four\"") && holds("\"caption\": null") && !holds("again"));
    sandbox
        .sightline("fetch urls.txt --out out --join texts.jsonl")
        .expect(2)
        .says(&["--join-columns: names no column"]);
}
