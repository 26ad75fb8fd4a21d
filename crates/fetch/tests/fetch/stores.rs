//! Outputs and tables in object stores: the same bytes as in a local folder, whatever happens on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sightline_core::progress::Silent;
use sightline_fetch::{
    Error, FetchPlan, FetchSpec, FetchSummary, IncrementalMode, Result, Share, StopFlag, fetch,
    finish, state, survey, work,
};
use sightline_shard::FORMATS;
use sightline_store::{Folder, Stores};

use crate::util::{StopAfter, World, run};

const ROWS: u32 = 25;

/// A request whose output is in a store in memory.
fn remote(world: &World, spec: &FetchSpec, stores: &Stores, out: &str) -> FetchSpec {
    let mut spec = spec.clone();
    spec.out = format!("s3://bucket/{out}").into();
    spec.stores = stores.clone();
    spec.scratch = Some(world.path("scratch"));
    spec
}

/// Every object of a folder, statistics left out: they hold times.
fn objects(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let names = folder.names().unwrap().into_iter();
    names
        .filter(|name| !name.ends_with("_stats.json"))
        .map(|name| {
            let bytes = folder.read(&name).unwrap().unwrap().to_vec();
            (name, bytes)
        })
        .collect()
}

fn folder(spec: &FetchSpec) -> Folder {
    spec.stores.folder(&spec.out).unwrap()
}

/// Checks that `there` holds what `here` holds, and no lease or half of a thing beside it.
fn same(here: &FetchSpec, there: &FetchSpec) {
    let (here, there) = (objects(&folder(here)), objects(&folder(there)));
    assert_eq!(
        here.keys().collect::<Vec<_>>(),
        there.keys().collect::<Vec<_>>()
    );
    assert!(here == there, "the bytes differ");
}

#[test]
fn every_format_gives_the_bytes_of_a_local_folder() {
    let world = World::new(ROWS);
    let table = world.table("urls.csv", ROWS);
    let stores = Stores::in_memory();
    let formats = FORMATS.iter().map(|format| format.name());
    for format in formats.chain(["dummy"]) {
        let mut local = world.captioned(&table, format);
        local.output_format = format.to_owned();
        run(&local).unwrap();
        let there = remote(&world, &local, &stores, format);
        let summary = run(&there).unwrap();
        assert_eq!(summary.rows, u64::from(ROWS), "{format}");
        same(&local, &there);
        // Again: everything is found.
        let again = run(&there).unwrap();
        assert_eq!(
            (again.shards_done, again.shards_skipped),
            (0, 3),
            "{format}"
        );
        let surveyed = survey(&folder(&there), 3, &Silent).unwrap();
        assert_eq!(surveyed.summary.rows, u64::from(ROWS), "{format}");
        assert_eq!(
            surveyed.samples.len(),
            if format == "dummy" { 0 } else { 3 }
        );
    }
    let left = fs::read_dir(world.path("scratch")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn tables_are_read_from_stores_in_every_form() {
    let world = World::new(ROWS);
    let table = world.table("urls.csv", ROWS);
    let local = world.captioned(&table, "local");
    run(&local).unwrap();
    let stores = Stores::in_memory();
    let bucket = stores.create(Path::new("gs://tables")).unwrap();
    let csv = fs::read(&table).unwrap();
    bucket.write("one/urls.csv", &csv).unwrap();
    let gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&csv).unwrap();
        encoder.finish().unwrap()
    };
    bucket.write("two/urls.csv.gz", &gzip).unwrap();
    bucket.write("two/README.md", b"no table").unwrap();
    for (n, place) in ["one/urls.csv", "one", "two", "two/*.csv.gz", "*/urls.csv"]
        .into_iter()
        .enumerate()
    {
        let mut there = remote(&world, &local, &stores, &format!("from-{n}"));
        there.url_list = format!("gs://tables/{place}").into();
        run(&there).unwrap();
        same(&local, &there);
        // And into a local folder, where nothing is left of the table.
        there.out = world.path(&format!("from-{n}"));
        there.scratch = None;
        run(&there).unwrap();
        same(&local, &there);
    }
    let mut missing = remote(&world, &local, &stores, "missing");
    missing.url_list = "gs://tables/none.csv".into();
    let error = run(&missing).unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert!(folder(&missing).names().unwrap().is_empty());
}

/// What somebody else does to an output.
type Damage = fn(&Folder);

#[test]
fn stopped_and_damaged_outputs_are_completed() {
    let world = World::new(40);
    let table = world.table("urls.csv", 95);
    let local = world.captioned(&table, "local");
    run(&local).unwrap();
    let stores = Stores::in_memory();
    for after in [1, 23, 94] {
        let there = remote(&world, &local, &stores, &format!("stopped-{after}"));
        let stop = StopAfter::new(after);
        let summary = fetch(&there, &*stop, &stop.flag).unwrap();
        assert!(summary.interrupted);
        assert_eq!(summary.shards_done, after / 10);
        let left = folder(&there).names().unwrap();
        assert_eq!(left.len() as u64, summary.shards_done * 3, "{left:?}");
        run(&there).unwrap();
        same(&local, &there);
    }
    let there = remote(&world, &local, &stores, "damaged");
    run(&there).unwrap();
    let out = folder(&there);
    let damages: [(&str, Damage); 4] = [
        ("no mark of completion", |out| {
            out.remove("00001_stats.json").map(drop).unwrap();
        }),
        ("no shard", |out| out.remove("00002.tar").map(drop).unwrap()),
        ("a table of another length", |out| {
            out.write("00003.parquet", b"PAR1").unwrap();
        }),
        ("statistics cut short", |out| {
            out.write("00004_stats.json", b"{\"count\"").unwrap();
        }),
    ];
    for (what, damage) in damages {
        damage(&out);
        assert_eq!(run(&there).unwrap().shards_done, 1, "{what}");
        same(&local, &there);
    }
    // What others wrote is not touched, and another request is told so.
    out.write("notes.txt", b"mine").unwrap();
    let mut other = there.clone();
    other.image.image_size = 16;
    assert!(matches!(run(&other), Err(Error::OtherSettings { .. })));
    other.incremental_mode = IncrementalMode::Overwrite;
    assert_eq!(run(&other).unwrap().shards_done, 10);
    assert_eq!(out.read("notes.txt").unwrap().unwrap(), "mine");
    other.incremental_mode = IncrementalMode::Extend;
    let more = fs::read_to_string(world.table("more.csv", 11)).unwrap();
    other.url_list = world.write("more.csv", &more.replace("caption", "other"));
    assert_eq!(run(&other).unwrap().shards_done, 2);
    assert!(out.entry("00011_stats.json").unwrap().is_some());
}

#[test]
fn a_folder_of_a_store_takes_one_run_at_a_time() {
    let world = World::new(1);
    let stores = Stores::in_memory();
    let local = world.spec(world.table("urls.csv", 3), "local");
    let there = remote(&world, &local, &stores, "busy");
    let out = folder(&there);
    out.write("fetch.lease", b"elsewhere 1\n").unwrap();
    let error = run(&there).unwrap_err();
    assert!(
        matches!(error, Error::Busy { .. }) && !error.is_usage(),
        "{error}"
    );
    out.remove("fetch.lease").unwrap();
    run(&there).unwrap();
    assert!(out.entry("fetch.lease").unwrap().is_none());
}

#[test]
fn workers_share_a_plan_in_a_store() {
    let world = World::new(40);
    let local = world.captioned(world.table("urls.csv", 95), "local");
    run(&local).unwrap();
    let stores = Stores::in_memory();
    let tables = stores.create(Path::new("s3://bucket/tables")).unwrap();
    tables
        .write("urls.csv", &fs::read(&local.url_list).unwrap())
        .unwrap();
    let mut spec = remote(&world, &local, &stores, "planned");
    spec.url_list = "s3://bucket/tables/urls.csv".into();
    let path = FetchPlan::new(&spec, &Silent).unwrap().save().unwrap();
    assert_eq!(path, Path::new("s3://bucket/planned/fetch-plan.json"));
    let read = || {
        let mut plan = FetchPlan::read(&spec.out, &stores).unwrap();
        plan.spec.scratch.clone_from(&spec.scratch);
        plan
    };
    assert_eq!(state(&read()).unwrap().open.len(), 10);
    assert_eq!(finish(&read()).unwrap().unwrap_err().len(), 10);
    // A plain run has no place there.
    assert!(matches!(run(&spec), Err(Error::OtherPlan { .. })));

    let out = folder(&spec);
    out.write("00005.lease", b"elsewhere 1\n").unwrap();
    let works =
        |share: Share| -> Result<FetchSummary> { work(&read(), &share, &Silent, &StopFlag::new()) };
    let summaries: Vec<FetchSummary> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|index| scope.spawn(move || works(Share::Index { index, count: 3 }).unwrap()))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let made: u64 = summaries.iter().map(|s| s.shards_done).sum();
    let elsewhere: u64 = summaries.iter().map(|s| s.shards_elsewhere).sum();
    assert_eq!((made, elsewhere), (9, 1));
    let state = state(&read()).unwrap();
    assert_eq!(state.under_way[&5].0, "elsewhere 1");
    out.remove("00005.lease").unwrap();
    assert_eq!(works(Share::Any).unwrap().shards_done, 1);
    let index = finish(&read()).unwrap().unwrap();
    assert_eq!(index.shards.len(), 10);
    let plan = out.read("fetch-plan.json").unwrap().unwrap();
    for name in ["dataset.json", "fetch-plan.json"] {
        assert!(out.remove(name).unwrap());
    }
    same(&local, &spec);
    out.write("fetch-plan.json", &plan).unwrap();

    // A table that changed since it was planned is found out when it is downloaded.
    let csv = fs::read_to_string(&local.url_list).unwrap();
    tables
        .write("urls.csv", csv.replacen("caption", "Caption", 1).as_bytes())
        .unwrap();
    out.remove("00003_stats.json").unwrap();
    let error = works(Share::Any).unwrap_err();
    assert!(matches!(error, Error::OtherTable { .. }), "{error}");
}
