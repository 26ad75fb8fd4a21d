//! The number of requests at the same time is found while the run goes on.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use sightline_imaging::{Channels, EncodeSpec, Pixels, encode};
use sightline_testkit::http::Server;

use crate::util::Sandbox;

const ROWS: usize = 1500;

/// Fetches tiny pictures from a server that thinks for 60 ms each time; the last line of progress, and the most requests that
/// the server had at a time.
fn run(options: &str) -> (serde_json::Value, u64) {
    let sandbox = Sandbox::new();
    let pixels = Pixels::filled(8, 8, Channels::Rgb, &[200, 30, 60]).unwrap();
    sandbox.write(
        "site/a.jpg",
        encode(&pixels, &EncodeSpec::default()).unwrap(),
    );
    let server = Server::start_with(
        sandbox.path("site"),
        0,
        Box::new(|_| {
            // A far server is one that answers late.
            thread::sleep(Duration::from_millis(60));
            None
        }),
    )
    .unwrap();
    let mut urls = String::new();
    for row in 0..ROWS {
        writeln!(urls, "{}", server.url(&format!("/a.jpg?{row}"))).unwrap();
    }
    sandbox.write("urls.txt", urls);
    let outcome = sandbox
        .sightline(&format!(
            "fetch urls.txt --out shards --image-size 8 --allow-private-addresses --per-host-connections 1000 \
             --progress json {options}"
        ))
        .expect(0);
    let last = outcome.stderr.lines().last().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["images"], ROWS, "{last}");
    (last, server.peak())
}

#[test]
fn far_servers_get_more_requests_at_a_time_until_that_brings_nothing() {
    let (last, peak) = run("");
    // It begins with 16.
    assert!(peak >= 32, "{peak} requests at a time");
    assert!(last["connections"].as_u64() >= Some(16), "{last}");

    let (last, peak) = run("--thread-count 20");
    assert!(peak <= 20, "{peak} requests at a time");
    assert_eq!(last["connections"], 20);
}
