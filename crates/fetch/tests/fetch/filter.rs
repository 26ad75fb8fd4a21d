//! Rows that are not asked for.

use std::fs;

use sightline_core::progress::Silent;
use sightline_fetch::{FetchPlan, IncrementalMode, Share, StopFlag, work};

use crate::util::{World, column, files, run};

const REPEATED: Option<&str> = Some("duplicate url");

/// Rows 0 to 9 and then again: 20 rows in two shards.
fn repeated(world: &World) -> std::path::PathBuf {
    let once = fs::read_to_string(world.table("once.csv", 10)).unwrap();
    let (header, rows) = once.split_once('\n').unwrap();
    world.write("urls.csv", &format!("{header}\n{rows}{rows}"))
}

#[test]
fn a_url_is_asked_for_once_also_by_a_run_that_goes_on() {
    let world = World::new(10);
    let mut spec = world.captioned(repeated(&world), "out");
    spec.filter.dedup_urls = true;
    let summary = run(&spec).unwrap();
    assert_eq!((summary.rows, summary.successes), (20, 9));
    assert_eq!(world.server.requests("/1.jpg"), 1);
    let messages = column(&spec.out, "error_message");
    assert!(messages[10..].iter().all(|m| m.as_deref() == REPEATED));

    // The last shard is made again: what its rows repeat is in shards that are not.
    let whole = files(&spec.out);
    fs::remove_file(spec.out.join("00001_stats.json")).unwrap();
    let again = run(&spec).unwrap();
    assert_eq!(again.shards_done, 1);
    assert!(files(&spec.out) == whole);

    spec.out = world.path("planned");
    let refused = FetchPlan::new(&spec, &Silent).unwrap_err().to_string();
    assert!(refused.starts_with("--dedup-urls: "), "{refused}");
}

#[test]
fn images_of_an_earlier_output_are_not_asked_for_again() {
    let world = World::new(10);
    let table = world.table("urls.csv", 10);
    let earlier = world.captioned(&table, "earlier");
    run(&earlier).unwrap();
    let mut spec = world.captioned(&table, "out");
    spec.filter.skip_urls_of = vec![earlier.out.clone()];
    let summary = run(&spec).unwrap();
    assert_eq!((summary.rows, summary.successes), (10, 0));
    // What failed then is tried again.
    assert_eq!(world.server.requests("/missing.png"), 2);
    assert_eq!(world.server.requests("/1.jpg"), 1);

    spec.out = world.path("planned");
    let plan = FetchPlan::new(&spec, &Silent).unwrap();
    let made = work(&plan, &Share::Any, &Silent, &StopFlag::new()).unwrap();
    assert_eq!((made.rows, made.successes), (10, 0));

    spec.out.clone_from(&earlier.out);
    spec.incremental_mode = IncrementalMode::Extend;
    let refused = run(&spec).unwrap_err().to_string();
    assert!(refused.starts_with("--skip-urls-of: "), "{refused}");
}

#[test]
fn captions_that_do_not_fit_cost_no_request() {
    let world = World::new(12);
    let mut spec = world.captioned(world.table("urls.csv", 12), "out");
    // Captions are "caption, N é".
    spec.filter.caption_regex = Some("[0-4] ".to_owned());
    spec.filter.max_caption_length = Some(12);
    let summary = run(&spec).unwrap();
    assert_eq!((summary.rows, summary.successes), (12, 5));
    assert_eq!(world.server.requests("/5.webp"), 0);
    let messages = column(&spec.out, "error_message");
    assert_eq!(messages[0], None);
    assert_eq!(messages[5].as_deref(), Some("caption does not match"));
    assert_eq!(messages[11].as_deref(), Some("caption too long"));

    spec.caption_col = None;
    assert!(
        run(&spec)
            .unwrap_err()
            .to_string()
            .starts_with("--caption-col: ")
    );
}
