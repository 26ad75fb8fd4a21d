//! Servers that misbehave, images that are none, addresses that are not public: every row ends in the
//! status table, and every run ends.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use sightline_fetch::FetchSpec;

use crate::util::{World, check, column, image_name, names, run};

/// Fetches the URLs as one shard and returns each row's error message.
fn messages(world: &World, spec: &mut FetchSpec, urls: &[String]) -> Vec<Option<String>> {
    spec.url_list = world.write("urls.txt", &urls.join("\n"));
    spec.number_sample_per_shard = 1000;
    let summary = run(spec).unwrap();
    check(&spec.out, &summary, urls.len() as u64);
    column(&spec.out, "error_message")
}

#[test]
fn every_fault_ends_in_its_row() {
    let world = World::new(2);
    fs::write(world.site().join("big"), vec![0; 200_001]).unwrap();
    let mut spec = world.spec("", "out");
    spec.network.timeout = Duration::from_millis(1500);
    spec.network.max_body_bytes = 200_000;
    let cases = [
        ("/0.png", None),
        ("/fault/stall", Some("timed out")),
        ("/fault/stall-body", Some("deadline of 1.5 s exceeded")),
        ("/fault/drip", Some("deadline of 1.5 s exceeded")),
        (
            "/fault/close",
            Some("Remote end closed connection without response"),
        ),
        (
            "/fault/cut",
            Some("IncompleteRead(500 bytes read, 500 more expected)"),
        ),
        ("/fault/cut-chunked", Some("IncompleteRead(500 bytes read)")),
        (
            "/fault/lie-longer",
            Some("IncompleteRead(1000 bytes read, 10 more expected)"),
        ),
        (
            "/fault/lie-shorter?file=0.png",
            Some("Image decoding error"),
        ),
        ("/fault/chunked?file=1.jpg", None),
        ("/fault/no-length?file=1.jpg", None),
        ("/fault/huge", Some("body larger than 200000 bytes")),
        ("/fault/endless", Some("body larger than 200000 bytes")),
        ("/big", Some("body larger than 200000 bytes")),
        ("/fault/html", Some("not an image: html")),
        ("/fault/empty", Some("not an image: empty")),
        ("/fault/gzip", Some("content encoding not supported: gzip")),
        ("/fault/redirect-loop", Some("more than 5 redirects")),
        ("/fault/redirect-chain?n=5&file=1.jpg", None),
        (
            "/fault/status/503",
            Some("HTTP Error 503: Service Unavailable"),
        ),
        ("/fault/status/404", Some("HTTP Error 404: Not Found")),
        (
            "/fault/robots-noai",
            Some("Use of image disallowed by X-Robots-Tag directive"),
        ),
        ("/1.jpg", None),
    ];
    let urls: Vec<String> = cases
        .iter()
        .map(|(path, _)| world.server.url(path))
        .collect();
    let start = Instant::now();
    let found = messages(&world, &mut spec, &urls);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    for ((path, expected), found) in cases.iter().zip(&found) {
        assert_eq!(found.as_deref(), *expected, "{path}");
    }
}

#[test]
fn what_is_no_public_http_url_is_not_asked() {
    let world = World::new(1);
    let mut spec = world.spec("", "out");
    spec.network.allow_private_addresses = false;
    let port = world.server.addr.port();
    let private = "private address not allowed";
    let cases = [
        (world.server.url("/0.png"), private),
        (format!("http://localhost:{port}/0.png"), private),
        (format!("http://2130706433:{port}/0.png"), private),
        (format!("http://[::ffff:127.0.0.1]:{port}/0.png"), private),
        (
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            private,
        ),
        (
            "file:///etc/passwd".to_owned(),
            "<urlopen error unknown url type: file>",
        ),
        (
            "data:image/png;base64,AAAA".to_owned(),
            "<urlopen error unknown url type: data>",
        ),
        ("notaurl".to_owned(), "unknown url type: 'notaurl'"),
    ];
    let urls: Vec<String> = cases.iter().map(|(url, _)| url.clone()).collect();
    for (found, (url, expected)) in messages(&world, &mut spec, &urls).iter().zip(&cases) {
        assert_eq!(found.as_deref(), Some(*expected), "{url}");
    }
    assert_eq!(world.server.requests_total(), 0);
}

#[test]
fn little_memory_slows_and_never_blocks() {
    let world = World::new(40);
    fs::write(world.site().join("big"), vec![b'x'; 3 << 20]).unwrap();
    let mut spec = world.spec("", "out");
    spec.memory_budget_bytes = Some(2 << 20);
    spec.network.concurrency = Some(64);
    let urls: Vec<String> = (0..200)
        .map(|n| match n % 5 {
            0 => world.server.url("/big"),
            1 => world.server.url("/fault/chunked?file=big"),
            _ => world.server.url(&format!("/{}", image_name(n % 40).0)),
        })
        .collect();
    let failed = messages(&world, &mut spec, &urls);
    let broken = failed
        .iter()
        .filter(|m| m.as_deref() == Some("Image decoding error"));
    assert_eq!(broken.count(), 80);
    assert_eq!(failed.iter().flatten().count(), 80);
}

#[test]
fn hostile_bytes_end_in_a_status_row() {
    let world = World::new(3);
    let png = fs::read(world.site().join("0.png")).unwrap();
    let jpg = fs::read(world.site().join("1.jpg")).unwrap();
    let mut bomb = png.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("truncated.png", png[..png.len() - 20].to_vec()),
        ("header-only.png", png[..33].to_vec()),
        ("bomb.png", bomb),
        ("truncated.jpg", jpg[..jpg.len() / 2].to_vec()),
        (
            "flipped.jpg",
            jpg.iter()
                .enumerate()
                .map(|(i, b)| if i % 97 == 50 { !b } else { *b })
                .collect(),
        ),
        ("soi.jpg", b"\xff\xd8\xff".to_vec()),
        ("gif.gif", b"GIF89a\xff\xff\xff\xff\xf7\0\0".to_vec()),
        ("riff.webp", b"RIFF\xff\xff\xff\xffWEBPVP8X".to_vec()),
        ("bm.bmp", b"BM\xff\xff\xff\xff\0\0\0\0\x36\0\0\0".to_vec()),
        ("tiff.tif", b"II*\0\xff\xff\xff\xff".to_vec()),
        ("pnm.ppm", b"P6\n99999 99999\n255\n".to_vec()),
        ("json.webp", b"{\"error\": \"gone\"}".to_vec()),
        ("nul", vec![0; 100_000]),
    ];
    for (name, bytes) in &hostile {
        fs::write(world.site().join(name), bytes).unwrap();
    }
    let mut urls: Vec<String> = hostile
        .iter()
        .map(|(name, _)| world.server.url(&format!("/{name}")))
        .collect();
    urls.push(world.server.url("/2.webp"));
    let mut spec = world.spec("", "out");
    let found = messages(&world, &mut spec, &urls);
    assert_eq!(found.last().unwrap().as_deref(), None);
    for ((name, _), message) in hostile.iter().zip(&found) {
        assert_ne!(message.as_deref(), Some("internal error"), "{name}");
    }
    let refused = found.iter().flatten().count();
    assert!(refused >= hostile.len() - 1, "{found:?}"); // a flipped JPEG may still decode
}

/// The whole collection of hostile images, where it is: `SIGHTLINE_FIXTURES` or beside the workspace.
#[test]
fn every_hostile_image_of_the_fixtures_ends_in_a_status_row() {
    let root = sightline_testkit::golden::Root::find();
    let folder = root.path.join("hostile-images");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let world = World::new(0);
    let mut images: Vec<String> = names(&folder)
        .into_iter()
        .filter(|name| folder.join(name).is_file())
        .collect();
    images.retain(|name| {
        !matches!(
            Path::new(name).extension().and_then(|e| e.to_str()),
            Some("md" | "csv")
        )
    });
    for name in &images {
        fs::copy(folder.join(name), world.site().join(name)).unwrap();
    }
    let urls: Vec<String> = images
        .iter()
        .map(|name| world.server.url(&format!("/{name}")))
        .collect();
    let mut spec = world.spec("", "out");
    let found = messages(&world, &mut spec, &urls);
    for (name, message) in images.iter().zip(&found) {
        println!("{name}: {}", message.as_deref().unwrap_or("success"));
        assert_ne!(message.as_deref(), Some("internal error"), "{name}");
    }
}
