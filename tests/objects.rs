//! Object stores: a real S3 server on loopback, one that fails, and what people are told.

mod proxy;
mod server;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use sightline_core::ShardId;
use sightline_shard::webdataset::WebDataset;
use sightline_shard::{FORMATS, ShardFormat, conformance};
use sightline_store::{Folder, Stores};
use sightline_testkit::http::Server as Http;

use crate::util::{Sandbox, files};
use proxy::Proxy;
use server::{Credentials, Server};

const ROWS: u64 = 60;
const OPTIONS: &str = "--caption-col caption --save-additional-columns captions --image-size 48 \
                       --number-sample-per-shard 20 --allow-private-addresses";

/// Images behind a server, their table, and a place of their own in the bucket.
struct World {
    sandbox: Sandbox,
    _images: Http,
    /// Prefix in the bucket.
    prefix: String,
}

impl World {
    fn new(prefix: &str, rows: u64) -> Self {
        let sandbox = Sandbox::new();
        sandbox
            .sightline(&format!(
                "synth scenes --out scenes --train {rows} --val 1 --test 1 --size 48"
            ))
            .expect(0);
        let images = Http::start(sandbox.path("scenes")).unwrap();
        let table = std::fs::read_to_string(sandbox.path("scenes/urls/train.csv")).unwrap();
        let base = images.url("");
        let table = table.replace("http://127.0.0.1:8000", base.trim_end_matches('/'));
        sandbox.write("urls.csv", table);
        Self {
            sandbox,
            _images: images,
            prefix: prefix.to_owned(),
        }
    }

    fn address(&self, name: &str) -> String {
        format!("s3://data/{}/{name}", self.prefix)
    }

    fn folder(&self, stores: &Stores, name: &str) -> Folder {
        stores.folder(self.address(name).as_ref()).unwrap()
    }

    /// What a run into a local folder makes.
    fn local(&self, out: &str, options: &str) -> Objects {
        let line = format!("fetch urls.csv --out {out} {OPTIONS} {options}");
        self.sandbox.sightline(&line).expect(0);
        files(&self.sandbox.path(out), is_data)
    }

    fn put_table(&self, stores: &Stores) -> String {
        let table = std::fs::read(self.sandbox.path("urls.csv")).unwrap();
        let tables = self.folder(stores, "tables");
        tables.write("urls.csv", &table).unwrap();
        self.address("tables/urls.csv")
    }
}

type Objects = BTreeMap<String, Vec<u8>>;

/// Statistics hold times.
fn is_data(name: &str) -> bool {
    !name.ends_with("_stats.json")
}

fn objects(folder: &Folder) -> Objects {
    let names = folder.names().unwrap().into_iter();
    names
        .filter(|name| is_data(name))
        .map(|name| {
            let bytes = folder.read(&name).unwrap().unwrap().to_vec();
            (name, bytes)
        })
        .collect()
}

#[track_caller]
fn same(expected: &Objects, found: &Objects) {
    assert_eq!(
        expected.keys().collect::<Vec<_>>(),
        found.keys().collect::<Vec<_>>()
    );
    assert!(expected == found, "the bytes differ");
}

#[test]
fn every_format_on_s3_is_the_local_one_byte_by_byte() {
    let Some(server) = Server::open() else { return };
    let world = World::new("formats", ROWS);
    let (who, stores) = (server.anybody(), server.anybody().stores());
    let table = world.put_table(&stores);
    let formats = FORMATS.iter().map(|format| format.name());
    for format in formats.chain(["dummy"]) {
        let options = format!("--output-format {format}");
        let expected = world.local(format, &options);
        let out = world.address(format);
        let line = format!("fetch {table} --out {out} {OPTIONS} {options} --json");
        let summary = who.run(&world.sandbox, &line).expect(0).json();
        assert_eq!(summary["successes"], ROWS, "{format}");
        let found = objects(&world.folder(&stores, format));
        same(&expected, &found);
        let again = who.run(&world.sandbox, &line).expect(0).json();
        assert_eq!(
            (&again["shards_done"], &again["shards_skipped"]),
            (&0.into(), &3.into()),
            "{format}"
        );
    }
    let out = world.address("webdataset");
    who.run(
        &world.sandbox,
        &format!("fetch report {out} --out page.html"),
    )
    .expect(0);
    let left = files(&world.sandbox.path(""), |name| {
        name.contains("sightline-fetch-")
    });
    assert!(left.is_empty(), "{:?}", left.keys());
}

#[test]
fn a_run_on_s3_that_is_killed_leaves_nothing_half_and_is_completed() {
    let Some(server) = Server::open() else { return };
    let world = World::new("killed", 400);
    let (who, stores) = (server.anybody(), server.anybody().stores());
    let expected = world.local("local", "");
    let line = format!("fetch urls.csv --out {} {OPTIONS}", world.address("out"));
    let out = world.folder(&stores, "out");
    for _ in 0..3 {
        let done = out.names().unwrap().len();
        let mut child = who
            .command(&world.sandbox, &line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while out.names().unwrap().len() < done + 5 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for (name, bytes) in objects(&out) {
            // Its lease stays, and is that of a process that is gone.
            assert!(
                name == "fetch.lease" || expected.get(&name) == Some(&bytes),
                "`{name}` is half done"
            );
        }
    }
    who.run(&world.sandbox, &line).expect(0);
    same(&expected, &objects(&out));
}

#[test]
fn a_store_that_fails_every_third_request_gets_everything() {
    let Some(server) = Server::open() else { return };
    let world = World::new("faults", ROWS);
    let proxy = Proxy::start(&server.endpoint);
    let who = server.anybody().through(&proxy.endpoint());
    let stores = server.anybody().stores();
    let table = world.put_table(&stores);
    for format in ["webdataset", "parquet", "mds"] {
        let options = format!("--output-format {format}");
        let expected = world.local(format, &options);
        let line = format!(
            "fetch {table} --out {} {OPTIONS} {options}",
            world.address(format)
        );
        who.run(&world.sandbox, &line).expect(0);
        same(&expected, &objects(&world.folder(&stores, format)));
    }
    // Large objects, in parts and back.
    let bytes: Vec<u8> = (0..20_000_003u32)
        .map(|i| (i % 251 + i / 9973) as u8)
        .collect();
    let failing = world.folder(&who.stores(), "large");
    failing.write("x", &bytes).unwrap();
    assert!(failing.read("x").unwrap().unwrap() == bytes);
    let digest = failing.digest("x").unwrap();
    assert_eq!(digest.sha256, sightline_core::Digest::of(&bytes));
    let mut dropped = failing.begin("y").unwrap();
    dropped.write_all(&bytes).unwrap();
    drop(dropped);
    assert_eq!(failing.names().unwrap(), ["x"]);
    assert!(proxy.failed() > 20, "{} requests failed", proxy.failed());
}

#[test]
fn two_workers_on_s3_and_one_is_killed() {
    let Some(server) = Server::open() else { return };
    let world = World::new("workers", 400);
    let (who, stores) = (server.anybody(), server.anybody().stores());
    let mut expected = world.local("local", "");
    let table = world.put_table(&stores);
    let out = world.address("out");
    let run = |line: &str| who.run(&world.sandbox, line);
    run(&format!("fetch plan {table} --out {out} {OPTIONS}")).expect(0);
    run(&format!("fetch status {out}")).expect(3);
    run(&format!("fetch {table} --out {out} {OPTIONS}"))
        .expect(2)
        .says(&["is the plan of another request"]);
    let worker = || {
        who.command(&world.sandbox, &format!("fetch work {out}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let folder = world.folder(&stores, "out");
    let (mut first, mut second) = (worker(), worker());
    let finished = || {
        let names = folder.names().unwrap();
        names.iter().filter(|name| !is_data(name)).count()
    };
    while finished() < 3 && first.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success());
    // What the first one was making may have been passed over while it lived.
    run(&format!("fetch work {out}")).expect(0);
    run(&format!("fetch status {out}")).expect(0);
    let index = run(&format!("fetch finish {out} --json")).expect(0).json();
    assert_eq!(index["samples"], 400);
    let found = objects(&folder);
    for name in ["dataset.json", "fetch-plan.json"] {
        expected.insert(name.to_owned(), found[name].clone());
    }
    same(&expected, &found);
}

#[test]
fn who_may_not_is_told_what_where_and_what_to_do() {
    let Some(server) = Server::guarded() else {
        return;
    };
    let world = World::new("guarded", 3);
    let (writer, reader) = (server.user("writer"), server.user("reader"));
    let table = world.put_table(&writer.stores());
    let fetch = |who: &Credentials, table: &str, out: &str| {
        let line = format!("fetch {table} --out {out} {OPTIONS}");
        who.run(&world.sandbox, &line)
    };
    fetch(&writer, &table, &world.address("out")).expect(0);
    fetch(&reader, &table, "local").expect(0);

    let out = world.address("read-only");
    fetch(&reader, &table, &out).expect(4).says(&[
        &out,
        "the store refuses it",
        "hint: Set AWS_ACCESS_KEY_ID",
    ]);
    let wrong = Credentials::new(&server.endpoint, "AKIAIOSFODNN7EXAMPLE", "wrong-secret");
    fetch(&wrong, &table, "other").expect(4).says(&[
        &table,
        "the store refuses it",
        "hint: Set AWS_ACCESS_KEY_ID",
    ]);
    fetch(&writer, &table, "s3://no-such-bucket/out")
        .expect(4)
        .says(&[
            "s3://no-such-bucket/out",
            "there is no such bucket",
            "hint: Make the bucket",
        ]);
    fetch(&writer, "s3://data/none.csv", "other")
        .expect(2)
        .says(&["s3://data/none.csv"]);
    fetch(&writer, "s3://data/none/*.csv", "other")
        .expect(2)
        .says(&["none"]);
    for command in ["info", "verify"] {
        let shards = world.address("out");
        let line = format!("shards {command} {shards}");
        reader.run(&world.sandbox, &line).expect(0);
        wrong
            .run(&world.sandbox, &line)
            .expect(4)
            .says(&["the store refuses it"]);
    }
}

#[test]
fn a_store_that_is_not_there_is_the_environment() {
    // A port that nobody listens on any more.
    let closed = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let sandbox = Sandbox::new();
    sandbox.write("urls.txt", "http://127.0.0.1/\n");
    let nobody = Credentials::new(&closed, "id", "a-secret");
    nobody
        .run(&sandbox, "fetch urls.txt --out s3://bucket/out")
        .expect(4)
        .says(&[
            "s3://bucket/out",
            "does not answer",
            "run the same command again",
        ]);
    for (line, part) in [
        ("fetch urls.txt --out ftp://host/out", "its kind is unknown"),
        (
            "fetch s3://bucket/../x.csv --out out",
            "not a relative path",
        ),
        ("shards info hdfs://host/out", "its kind is unknown"),
    ] {
        nobody.run(&sandbox, line).expect(2).says(&[part]);
    }
    assert_eq!(nobody.secret(), "a-secret");
}

#[test]
fn tables_and_shards_are_read_from_a_web_server() {
    let world = World::new("web", ROWS);
    let expected = world.local("local", "");
    let site = Http::start(world.sandbox.path("")).unwrap();
    let run = |line: &str| world.sandbox.sightline(line);
    let table = site.url("/urls.csv?signature=not-to-be-seen");
    let fetched = run(&format!("fetch {table} --out from-web {OPTIONS}")).expect(0);
    assert!(
        !fetched.stderr.contains("not-to-be-seen"),
        "{}",
        fetched.stderr
    );
    same(&expected, &files(&world.sandbox.path("from-web"), is_data));

    let shard = site.url("/local/00000.tar");
    let info = run(&format!("shards info {shard} --json")).expect(0).json();
    assert_eq!(info["total"]["samples"], 20);
    run(&format!(
        "shards convert {shard} --to parquet --out converted"
    ))
    .expect(0);
    let missing = site.url("/none.csv?signature=not-to-be-seen");
    let told = run(&format!("fetch {missing} --out other {OPTIONS}")).expect(2);
    assert!(!told.stderr.contains("not-to-be-seen"), "{}", told.stderr);
    let out = site.url("/out");
    run(&format!("fetch urls.csv --out {out} {OPTIONS}"))
        .expect(2)
        .says(&["only read from"]);
    let pattern = site.url("/local/*.tar");
    run(&format!("shards info {pattern}"))
        .expect(2)
        .says(&["does not list"]);
    run(&format!("fetch plan {table} --out planned {OPTIONS}")).expect(2);
}

#[test]
fn shards_on_s3_are_looked_into_mended_converted_and_indexed() {
    let Some(server) = Server::open() else { return };
    let sandbox = Sandbox::new();
    let (who, stores) = (server.anybody(), server.anybody().stores());
    let run = |line: &str| who.run(&sandbox, line);
    let mut source = stores.folder("s3://data/shards/source".as_ref()).unwrap();
    let mut local = Folder::create(sandbox.path("source")).unwrap();
    let samples = conformance::samples();
    for (id, some) in (0..).zip(samples.chunks(8)) {
        for folder in [&mut source, &mut local] {
            let mut writer = WebDataset.create(folder, ShardId(id)).unwrap();
            for sample in some {
                writer.write(sample).unwrap();
            }
            writer.finish().unwrap();
        }
    }
    let here = run("shards info source --json").expect(0).json();
    let there = run("shards info s3://data/shards/source --json")
        .expect(0)
        .json();
    assert_eq!(here, there);
    let pattern = run("shards info s3://data/shards/source/{00000..00001}.tar --json");
    assert_eq!(pattern.expect(0).json(), here);

    for format in FORMATS.iter().map(|format| format.name()) {
        let to = format!("--to {format} --samples-per-shard 5");
        run(&format!("shards convert source --out {format} {to}")).expect(0);
        let out = format!("s3://data/shards/{format}");
        let line = format!("shards convert s3://data/shards/source --out {out} {to}");
        run(&line).expect(0);
        let converted = stores.folder(out.as_ref()).unwrap();
        same(
            &files(&sandbox.path(format), |_| true),
            &objects(&converted),
        );
        run(&line).expect(2).says(&["exists", "--force"]);
        let format = format!("--format {format}");
        run(&format!("shards verify {out} {format}")).expect(0);
    }

    for folder in ["source", "s3://data/shards/source"] {
        run(&format!(
            "shards index {folder} --kind energon,manifest,wids"
        ))
        .expect(0);
        run(&format!("shards index {folder} --kind wids")).expect(2);
        run(&format!("shards verify {folder} --decode --json"));
    }
    same(&files(&sandbox.path("source"), |_| true), &objects(&source));

    let whole = source.read("00000.tar").unwrap().unwrap();
    source
        .write("00000.tar", &whole[..whole.len() / 2])
        .unwrap();
    run("shards verify s3://data/shards/source").expect(1);
    run("shards repair s3://data/shards/source --out s3://data/shards/mended").expect(0);
    run("shards verify s3://data/shards/mended").expect(0);
}

/// The digests of the shards of a folder.
fn manifest(objects: &Objects) -> serde_json::Value {
    serde_json::from_slice(&objects["shards.manifest.json"]).unwrap()
}

#[test]
fn shards_on_s3_are_cut_anew_parted_filtered_and_exported_into_s3() {
    let Some(server) = Server::open() else { return };
    let world = World::new("tools", ROWS);
    let proxy = Proxy::start(&server.endpoint);
    let (who, stores) = (
        server.anybody().through(&proxy.endpoint()),
        server.anybody().stores(),
    );
    world.local("source", "");
    let sandbox = &world.sandbox;
    let source = stores.folder("s3://data/tools/source".as_ref()).unwrap();
    for (name, bytes) in files(&sandbox.path("source"), |_| true) {
        source.write(&name, &bytes).unwrap();
    }
    let keys: Vec<String> = sandbox
        .sightline("shards read source --to jsonl")
        .expect(0)
        .stdout
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["key"].as_str().unwrap().to_owned()
        })
        .collect();
    let mut scores = "key,score\n".to_owned();
    for (number, key) in keys.iter().enumerate() {
        scores.extend([key.as_str(), ",", &number.to_string(), "\n"]);
    }
    sandbox.write("scores.csv", &scores);
    stores
        .folder("s3://data/tools/tables".as_ref())
        .unwrap()
        .write("scores.csv", scores.as_bytes())
        .unwrap();
    for (name, line) in [
        ("cut", "reshard SOURCE --samples-per-shard 7 --to mds"),
        (
            "shuffled",
            "reshard SOURCE --samples-per-shard 7 --shuffle 3 --memory 20kB",
        ),
        ("parted", "split SOURCE --parts train=0.8,val=0.2 --exact"),
        (
            "filtered",
            "filter SOURCE --where score>=20 --scores TABLES/scores.csv",
        ),
        ("different", "dedup SOURCE --by content --report OUT.json"),
        ("exported", "export SOURCE"),
    ] {
        let here = line
            .replace("SOURCE", "source")
            .replace("TABLES/", "")
            .replace("OUT", name);
        sandbox
            .sightline(&format!("shards {here} --out {name}"))
            .expect(0);
        let expected = files(&sandbox.path(name), |_| true);
        assert!(expected.len() > 1, "{name}");
        let out = format!("s3://data/tools/{name}");
        let there = line
            .replace("SOURCE", "s3://data/tools/source")
            .replace("TABLES", "s3://data/tools/tables")
            .replace("OUT", &out);
        let there = format!("shards {there} --out {out}");
        who.run(sandbox, &there).expect(0);
        let folder = stores.folder(out.as_ref()).unwrap();
        same(&expected, &objects(&folder));
        who.run(sandbox, &there)
            .expect(2)
            .says(&[&out, "exists", "--force"]);
        if name == "different" {
            let report = stores.folder("s3://data/tools".as_ref()).unwrap();
            let report = report.read("different.json").unwrap().unwrap();
            assert!(report == std::fs::read(sandbox.path("different.json")).unwrap());
        }
    }
    who.run(
        sandbox,
        "shards reshard source --samples-per-shard 7 --out s3://data --force",
    )
    .expect(2)
    .says(&["s3://data", "a whole bucket"]);
    assert!(proxy.failed() > 50, "{} requests failed", proxy.failed());
}

#[test]
fn a_reshard_into_s3_that_is_killed_is_known_for_unfinished_and_goes_on() {
    let Some(server) = Server::open() else { return };
    let world = World::new("killed-reshard", 600);
    let (who, stores) = (server.anybody(), server.anybody().stores());
    world.local("source", "");
    let sandbox = &world.sandbox;
    let line =
        |out: &str| format!("shards reshard source --samples-per-shard 10 --shuffle 1 --out {out}");
    sandbox.sightline(&line("local")).expect(0);
    let out = "s3://data/killed-reshard/out";
    let folder = stores.folder(out.as_ref()).unwrap();
    let finished = || {
        let names = folder.names().unwrap();
        names.iter().filter(|name| name.ends_with(".tar")).count()
    };
    let mut child = who
        .command(sandbox, &line(out))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while finished() < 5 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let told = ["is not finished", "Run the command that writes it again"];
    for command in ["info", "verify", "read"] {
        who.run(sandbox, &format!("shards {command} {out}"))
            .expect(3)
            .says(&told);
    }
    who.run(sandbox, &format!("shards info {out}/00000.tar"))
        .expect(0);
    let done = who.run(sandbox, &format!("{} --json", line(out)));
    assert!(done.expect(0).json()["kept"].as_u64().unwrap() >= 4);
    let expected = files(&sandbox.path("local"), |_| true);
    let found = objects(&folder);
    assert_eq!(manifest(&expected), manifest(&found));
    same(&expected, &found);
    who.run(sandbox, &format!("shards verify {out}")).expect(0);
}
