//! Images that are stored once: within a run, when it goes on, against an earlier run, and by the workers of a plan.

use std::f64::consts::PI;
use std::fmt::Write as _;
use std::path::PathBuf;

use sightline_core::Seed;
use sightline_core::progress::Silent;
use sightline_fetch::{
    DUPLICATES_FILE, Error, FetchPlan, FetchSpec, Likeness, Share, StopFlag, fetch, finish, work,
};
use sightline_imaging::{Channels, EncodeSpec, Pixels, encode};

use crate::util::{StopAfter, World, check, column, files, names, run};

/// 30 rows that name 12 images by URLs of their own: rows 0 to 11, then each again and again.
fn repeated(world: &World) -> PathBuf {
    let mut urls = String::new();
    for row in 0..30 {
        let (image, _) = crate::util::image_name(row % 12);
        writeln!(urls, "{}", world.server.url(&format!("/{image}?row={row}"))).unwrap();
    }
    world.write("urls.txt", &urls)
}

fn by_content(world: &World, table: PathBuf, out: &str) -> FetchSpec {
    let mut spec = world.spec(table, out);
    spec.dedup.by.insert(Likeness::Content);
    spec
}

#[test]
fn bytes_are_stored_once_for_the_first_row_that_has_them() {
    let world = World::new(12);
    let spec = by_content(&world, repeated(&world), "out");
    let summary = run(&spec).unwrap();
    assert_eq!((summary.successes, summary.duplicates), (12, 18));
    assert_eq!(summary.failures.len(), 1);
    check(&spec.out, &summary, 30);
    let (keys, statuses) = (column(&spec.out, "key"), column(&spec.out, "status"));
    let (of, messages) = (
        column(&spec.out, "duplicate_of"),
        column(&spec.out, "error_message"),
    );
    for row in 0..30 {
        let is_first = row < 12;
        let status = if is_first { "success" } else { "duplicate" };
        assert_eq!(statuses[row].as_deref(), Some(status));
        let (expected, message) = if is_first {
            (None, None)
        } else {
            (keys[row % 12].clone(), Some("duplicate content"))
        };
        assert_eq!(of[row], expected);
        assert_eq!(messages[row].as_deref(), message);
    }
}

#[test]
fn what_is_left_out_does_not_depend_on_speed_or_on_stops() {
    let world = World::new(12);
    let table = repeated(&world);
    let whole = by_content(&world, table.clone(), "whole");
    run(&whole).unwrap();
    let expected = files(&whole.out);
    for (after, connections) in [(1, 1), (10, 2), (19, 16), (25, 3)] {
        let mut spec = by_content(&world, table.clone(), &format!("stopped-{after}"));
        spec.network.concurrency = Some(connections);
        let stop = StopAfter::new(after);
        assert!(fetch(&spec, &*stop, &stop.flag).unwrap().interrupted);
        run(&spec).unwrap();
        assert!(files(&spec.out) == expected, "{after}");
        // A shard in the middle, made again beside those before and after it.
        std::fs::remove_file(spec.out.join("00001_stats.json")).unwrap();
        assert_eq!(run(&spec).unwrap().shards_done, 1);
        assert!(files(&spec.out) == expected, "{after}");
    }
}

#[test]
fn pictures_that_look_the_same_are_stored_once() {
    let world = World::new(1);
    // All waves that the hash looks at, each clearly there, with signs of their own.
    let picture = |name: &str, side: u32, seed: u64, quality: u8| {
        let mut rng = Seed(seed).rng();
        let waves: Vec<(f64, f64, f64)> = (0..64)
            .map(|wave| {
                (
                    f64::from(wave % 8),
                    f64::from(wave / 8),
                    rng.between(-1.0, 1.0).signum(),
                )
            })
            .collect();
        let data = (0..side * side * 3)
            .map(|i| {
                let part = |at: u32| PI * (f64::from(at) + 0.5) / f64::from(side);
                let (x, y) = (part(i / 3 % side), part(i / 3 / side));
                let wave = |(across, down, sign): &(f64, f64, f64)| {
                    sign * (across * x).cos() * (down * y).cos()
                };
                (128.0 + 5.0 * waves.iter().map(wave).sum::<f64>()) as u8
            })
            .collect();
        let pixels = Pixels::new(side, side, Channels::Rgb, data).unwrap();
        let file = encode(&pixels, &EncodeSpec::jpeg(quality)).unwrap();
        std::fs::write(world.site().join(name), file).unwrap();
        world.server.url(&format!("/{name}"))
    };
    let urls = [
        picture("a.jpg", 96, 1, 95),
        picture("b.jpg", 96, 2, 95),
        picture("c.jpg", 160, 1, 60),
        picture("d.jpg", 80, 2, 80),
    ];
    let mut spec = world.spec(world.write("urls.txt", &urls.join("\n")), "out");
    spec.dedup.by = [Likeness::Content, Likeness::Perceptual].into();
    let summary = run(&spec).unwrap();
    check(&spec.out, &summary, 4);
    let of = column(&spec.out, "duplicate_of");
    let expected = [None, None, Some("000000"), Some("000001")];
    assert_eq!(of, expected.map(|key| key.map(str::to_owned)));
    let phashes = column(&spec.out, "phash");
    assert!(phashes[..2].iter().flatten().all(|phash| phash.len() == 16));
    assert_eq!(phashes[2..], [None, None]);

    let mut later = world.spec(world.write("later.txt", &urls[2..].join("\n")), "later");
    later.dedup.by = spec.dedup.by.clone();
    later.dedup.skip_content_of = vec![spec.out.clone()];
    assert_eq!(run(&later).unwrap().duplicates, 2);
}

#[test]
fn images_of_an_earlier_output_are_not_stored_again() {
    let world = World::new(20);
    let earlier = world.spec(world.table("earlier.csv", 8), "earlier");
    run(&earlier).unwrap();
    let table = world.table("urls.csv", 20);
    let mut spec = world.spec(&table, "out");
    spec.dedup.skip_content_of = vec![earlier.out.clone()];
    let summary = run(&spec).unwrap();
    // One row of seven is missing from the server.
    assert_eq!((summary.duplicates, summary.successes), (7, 11));
    let of = column(&spec.out, "duplicate_of");
    let expected = format!("{}/000003", earlier.out.display());
    assert_eq!(of[3], Some(expected));
    assert_eq!(of[8], None);

    // Only what the folder holds is part of the settings.
    let moved = world.path("moved");
    std::fs::rename(&earlier.out, &moved).unwrap();
    spec.dedup.skip_content_of = vec![moved.clone()];
    assert_eq!(run(&spec).unwrap().shards_skipped, 2);
    std::fs::remove_file(moved.join("00000.parquet")).unwrap();
    assert!(matches!(run(&spec), Err(Error::NoShards { .. })));
    spec.dedup.skip_content_of = vec![world.path("other")];
    run(&world.spec(world.table("other.csv", 3), "other")).unwrap();
    assert!(matches!(run(&spec), Err(Error::OtherSettings { .. })));
}

#[test]
fn a_table_that_is_added_is_compared_with_what_is_there() {
    let world = World::new(12);
    let first = by_content(&world, world.table("first.csv", 12), "out");
    run(&first).unwrap();
    let mut second = by_content(&world, repeated(&world), "out");
    second.incremental_mode = sightline_fetch::IncrementalMode::Extend;
    let summary = run(&second).unwrap();
    // Row 6 of the first table is missing from the server, so its image is new.
    assert_eq!((summary.successes, summary.duplicates), (1, 29));
}

#[test]
fn workers_compare_within_a_shard_and_the_end_lists_the_rest() {
    let world = World::new(12);
    let spec = by_content(&world, repeated(&world), "planned");
    let plan = FetchPlan::new(&spec, &Silent).unwrap();
    plan.save().unwrap();
    for share in [Share::Shards(vec![2, 0]), Share::Any] {
        work(&plan, &share, &Silent, &StopFlag::new()).unwrap();
    }
    let index = finish(&plan).unwrap().unwrap();
    // Rows 10 and 11, then 0 to 7 in the second shard, 8 to 11 and 0 to 5 in the third: all different within a shard.
    assert_eq!(index.samples, 30);
    assert_eq!(index.duplicates_across_shards, Some(18));
    let list = std::fs::read_to_string(plan.spec.out.join(DUPLICATES_FILE)).unwrap();
    assert_eq!(
        list.lines().next(),
        Some(r#"{"key":"000012","duplicate_of":"000000","by":"content"}"#)
    );
    assert_eq!(list.lines().count(), 18);
    assert!(names(&plan.spec.out).contains(&"00002.tar".to_owned()));
}

#[test]
fn comparing_needs_what_is_compared() {
    let world = World::new(1);
    let refused = |change: fn(&mut FetchSpec)| {
        let mut spec = by_content(&world, world.table("urls.csv", 1), "out");
        change(&mut spec);
        run(&spec).unwrap_err().to_string()
    };
    let without = refused(|spec| spec.compute_hash = None);
    assert!(without.contains("--compute-hash none"), "{without}");
    let far = refused(|spec| spec.dedup.max_distance = 65);
    assert!(far.starts_with("--dedup-distance: "), "{far}");
    let own = refused(|spec| spec.dedup.skip_content_of = vec![spec.out.clone()]);
    assert!(own.starts_with("--skip-content-of: "), "{own}");
    let unseen = refused(|spec| {
        spec.dedup.by.insert(Likeness::Perceptual);
        spec.reencode = sightline_fetch::Reencode::Never;
    });
    assert!(unseen.contains("--disable-all-reencoding"), "{unseen}");
}
