//! Rows begin in the order of the table.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use sightline_testkit::http::Server;

use crate::util::{World, run};

/// More waits than the runtime lets a task have before another has its turn.
const ROWS: usize = 400;

#[test]
fn rows_ask_in_the_order_of_the_table() {
    let world = World::new(0);
    let asked: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let server = Server::start_with(
        world.site(),
        0,
        Box::new(move |request| {
            let row = request.path.trim_start_matches('/').parse();
            seen.lock().unwrap().push(row.unwrap());
            None
        }),
    )
    .unwrap();
    let mut urls = String::new();
    for row in 0..ROWS {
        writeln!(urls, "{}", server.url(&format!("/{row}"))).unwrap();
    }
    let mut spec = world.spec(world.write("urls.txt", &urls), "out");
    // All rows stand in one queue, and one of them is served.
    spec.network.per_host_concurrency = ROWS;
    spec.network.concurrency = Some(1);
    run(&spec).unwrap();
    let asked = asked.lock().unwrap();
    assert!(asked.iter().copied().eq(0..ROWS), "{asked:?}");
}
