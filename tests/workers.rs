//! A plan and its workers: the same bytes on any number of machines, however they share the shards and whoever is killed.

use std::process::Stdio;
use std::time::Duration;

use sightline_testkit::http::Server;

use crate::util::{Sandbox, files};

const SHARDS: usize = 10;
const OPTIONS: &str = "--caption-col caption --save-additional-columns captions --image-size 48 \
                       --number-sample-per-shard 20 --allow-private-addresses";

/// 200 rows on a server, and what one undisturbed run makes of them.
struct Table {
    sandbox: Sandbox,
    _server: Server,
}

type Files = std::collections::BTreeMap<String, Vec<u8>>;

impl Table {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox
            .sightline("synth scenes --out scenes --train 200 --val 1 --test 1 --size 48")
            .expect(0);
        let server = Server::start(sandbox.path("scenes")).unwrap();
        let table = std::fs::read_to_string(sandbox.path("scenes/urls/train.csv")).unwrap();
        let base = server.url("");
        sandbox.write(
            "urls.csv",
            table.replace("http://127.0.0.1:8000", base.trim_end_matches('/')),
        );
        sandbox
            .sightline(&format!("fetch urls.csv --out alone {OPTIONS}"))
            .expect(0);
        Self {
            sandbox,
            _server: server,
        }
    }

    fn plan(&self, table: &str, out: &str) {
        let shown = self
            .sandbox
            .sightline(&format!("fetch plan {table} --out {out} {OPTIONS} --json"))
            .expect(0)
            .json();
        assert_eq!(shown["rows"], 200);
        assert_eq!(shown["shards"], SHARDS);
    }

    /// Shards and status tables.
    fn data(&self, out: &str) -> Files {
        files(&self.sandbox.path(out), |name| {
            name.ends_with(".tar") || name.ends_with(".parquet")
        })
    }

    /// The plan is done, nothing else is left, and every byte is that of the undisturbed run.
    fn check(&self, out: &str) {
        let index = self
            .sandbox
            .sightline(&format!("fetch finish {out} --json"))
            .expect(0)
            .json();
        assert_eq!(index["samples"], 200);
        assert_eq!(index["shards"].as_array().unwrap().len(), SHARDS);
        let (expected, found) = (self.data("alone"), self.data(out));
        assert!(expected == found, "the workers' bytes differ");
        let rest = files(&self.sandbox.path(out), |name| {
            !name.ends_with(".tar") && !name.ends_with(".parquet") && !name.ends_with("_stats.json")
        });
        assert_eq!(
            rest.keys().map(String::as_str).collect::<Vec<_>>(),
            ["dataset.json", "fetch-plan.json"]
        );
    }
}

#[test]
fn workers_share_a_plan_by_number_by_list_and_by_lease() {
    let table = Table::new();
    let run = |line: &str| table.sandbox.sightline(line);
    table.plan("urls.csv", "shared");

    let state = run("fetch status shared --json").expect(3).json();
    assert_eq!(state["open"].as_array().unwrap().len(), SHARDS);
    let missing = run("fetch finish shared --json").expect(3).json();
    assert_eq!(missing["missing"].as_array().unwrap().len(), SHARDS);

    let first = run("fetch work shared --index 1 --count 3 --json")
        .expect(0)
        .json();
    assert_eq!(
        (&first["shards_done"], &first["rows"]),
        (&3.into(), &60.into())
    );
    let listed = run("fetch work shared --shards 0-2,9 --json")
        .expect(0)
        .json();
    assert_eq!(
        (&listed["shards_done"], &listed["shards_skipped"]),
        (&3.into(), &1.into())
    );
    // Somebody is making shard 5, and somebody else began shard 8 long ago.
    let fresh = table.sandbox.write("shared/00005.lease", "elsewhere 1\n");
    let old = table.sandbox.write("shared/00008.lease", "gone 1\n");
    let past = std::time::SystemTime::now() - Duration::from_hours(1);
    std::fs::File::open(&old)
        .unwrap()
        .set_modified(past)
        .unwrap();
    let state = run("fetch status shared").expect(3);
    assert!(state.stdout.contains("1 under way"), "{}", state.stdout);
    assert!(
        state.stdout.contains("00005: elsewhere 1"),
        "{}",
        state.stdout
    );
    let rest = run("fetch work shared --json").expect(0).json();
    assert_eq!(rest["shards_elsewhere"], 1);
    assert_eq!(
        run("fetch finish shared --json").expect(3).json()["missing"][0],
        5
    );
    std::fs::remove_file(fresh).unwrap();
    run("fetch work shared").expect(0);
    run("fetch status shared").expect(0);
    table.check("shared");
}

#[test]
fn a_worker_that_is_killed_is_replaced() {
    let table = Table::new();
    table.plan("urls.csv", "killed");
    let worker = || {
        table
            .sandbox
            .command("fetch work killed".split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut first, mut second) = (worker(), worker());
    let has_begun = || {
        let begun = files(&table.sandbox.path("killed"), |name| name.ends_with(".tar"));
        !begun.is_empty()
    };
    while !has_begun() && first.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success());
    // What the killed worker was making has a lease that is fresh still.
    for lease in files(&table.sandbox.path("killed"), |name| {
        name.ends_with(".lease")
    })
    .keys()
    {
        std::fs::remove_file(table.sandbox.path("killed").join(lease)).unwrap();
    }
    table.sandbox.sightline("fetch work killed").expect(0);
    table.check("killed");
}

#[test]
fn plans_hold_for_one_table_and_one_request() {
    let table = Table::new();
    let run = |line: &str| table.sandbox.sightline(line);
    table.plan("urls.csv", "held");
    // The same again is the same plan; another request or a plain fetch has no place there.
    table.plan("urls.csv", "held");
    let other = run("fetch plan urls.csv --out held --image-size 64").expect(2);
    assert!(
        other.stderr.contains("is the plan of another request"),
        "{}",
        other.stderr
    );
    run(&format!("fetch urls.csv --out held {OPTIONS}")).expect(2);
    run("fetch work held --index 3 --count 3").expect(2);
    run("fetch work held --shards 10").expect(2);
    run("fetch work held --shards 3-1").expect(2);
    run("fetch work nowhere").expect(2);

    let text = std::fs::read_to_string(table.sandbox.path("urls.csv")).unwrap();
    table
        .sandbox
        .write("urls.csv", text.replacen("jpg", "jpeg", 1));
    let changed = run("fetch work held").expect(2);
    assert!(
        changed.stderr.contains("is not the one that was planned"),
        "{}",
        changed.stderr
    );
    table.sandbox.write("held/fetch-plan.json", "{}");
    let broken = run("fetch work held").expect(2);
    assert!(broken.stderr.contains("is no plan"), "{}", broken.stderr);
}
