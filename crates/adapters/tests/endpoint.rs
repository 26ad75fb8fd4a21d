//! A server with OpenAI's interface, good and bad, asked as tasks ask it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use bytes::Bytes;
use sightline_adapters::{Adapter, Around, Error};
use sightline_core::Seed;
use sightline_manifest::{PlannedEndpoint, PlannedOutside};
use sightline_models::{
    Decoding, Error as ModelError, Generate, Prompt, Segment, Strategy, Visual,
};
use sightline_testkit::chat::Chat;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n, or nearly";

fn planned(server: &Chat, model: &str, capabilities: &[&str]) -> PlannedEndpoint {
    PlannedEndpoint {
        url: server.url(),
        model: model.to_owned(),
        capabilities: capabilities.iter().map(|&name| name.to_owned()).collect(),
        key_env: None,
        timeout_s: 0.4,
        retries: 1,
        requests_per_minute: None,
        at_once: 3,
    }
}

fn open(spec: PlannedEndpoint) -> Result<Adapter, Error> {
    Adapter::open(&PlannedOutside::Endpoint(spec), &Around::default())
}

/// What a model writes about an image, or why not.
fn write(server: &Chat, model: &str, decoding: Decoding, text: &str) -> Result<String, ModelError> {
    let model = open(planned(server, model, &["generate"]))
        .unwrap()
        .into_model();
    let generate = model.generate().unwrap();
    ask(generate, decoding, text)
}

fn ask(generate: &dyn Generate, decoding: Decoding, text: &str) -> Result<String, ModelError> {
    let images = Visual::Encoded(vec![Bytes::from_static(PNG)]);
    let segments = [Segment::Image(0), Segment::Text(text)];
    let prompt = Prompt {
        segments: &segments,
        seed: Seed(17),
    };
    let mut written = generate.generate(&images, &[prompt], &decoding)?;
    Ok(written.remove(0).text)
}

const GREEDY: Decoding = Decoding {
    strategy: Strategy::Greedy,
    max_tokens: Some(5),
};

#[test]
fn images_and_texts_are_sent_and_the_answer_comes_back() {
    let server = Chat::start().unwrap();
    assert_eq!(
        write(&server, "good", GREEDY, "what is it?").unwrap(),
        "1 images: what is it?"
    );
    let nucleus = Decoding {
        strategy: Strategy::Nucleus { p: 0.5 },
        max_tokens: None,
    };
    write(&server, "good", nucleus, "x").unwrap();
    let bodies = server.bodies();
    assert_eq!(
        (&bodies[0]["temperature"], &bodies[0]["max_tokens"]),
        (&0.into(), &5.into())
    );
    let url = bodies[0]["messages"][0]["content"][0]["image_url"]["url"]
        .as_str()
        .unwrap();
    assert!(url.starts_with("data:image/png;base64,iVBOR"), "{url}");
    assert_eq!(bodies[1]["top_p"], 0.5);
    assert!(bodies[1]["seed"].is_u64());
    let beam = Decoding {
        strategy: Strategy::Beam { width: 3 },
        max_tokens: None,
    };
    let refused = write(&server, "good", beam, "x").unwrap_err();
    assert!(matches!(refused, ModelError::Gone { .. }), "{refused}");
}

#[test]
fn a_server_that_asks_to_wait_is_asked_again() {
    let server = Chat::start().unwrap();
    assert_eq!(
        write(&server, "limited", GREEDY, "x").unwrap(),
        "1 images: x"
    );
    assert_eq!(server.requests(), 2);
}

#[test]
fn every_failure_has_a_reason_that_can_be_counted() {
    for (model, reason, requests) in [
        ("down", "status 503", 2),
        ("refuses", "status 400", 1),
        ("stalls", "no answer within 0.4 s", 2),
        ("cut", "the connection broke", 2),
        ("not-json", "answered what is not JSON", 1),
        ("no-text", "answered without a text", 1),
        ("filtered", "the server's filter withheld the answer", 1),
    ] {
        let server = Chat::start().unwrap();
        match write(&server, model, GREEDY, "x").unwrap_err() {
            ModelError::Unanswered { reason: told } => assert_eq!(told, reason, "{model}"),
            other => panic!("{model}: {other}"),
        }
        assert_eq!(server.requests(), requests, "{model}");
    }
}

#[test]
fn a_server_that_answers_nothing_is_given_up() {
    let server = Chat::start().unwrap();
    let spec = PlannedEndpoint {
        retries: 0,
        ..planned(&server, "down", &["generate"])
    };
    let model = open(spec).unwrap().into_model();
    let generate = model.generate().unwrap();
    let last = (0..20).map(|_| ask(generate, GREEDY, "x").unwrap_err());
    let gone = last
        .into_iter()
        .find(|error| matches!(error, ModelError::Gone { .. }));
    assert!(gone.unwrap().to_string().contains("9 requests in a row"));
}

#[test]
fn a_key_is_needed_sent_and_never_shown() {
    let server = Chat::start_with_key("secret-17").unwrap();
    let spec = PlannedEndpoint {
        key_env: Some("THE_KEY".to_owned()),
        ..planned(&server, "good", &["generate"])
    };
    let open = |key: Option<&str>| {
        let key = key.map(|key| ("THE_KEY".to_owned(), key.into()));
        let around = Around {
            environment: key.into_iter().collect(),
            ..Around::default()
        };
        assert!(!format!("{around:?}").contains("secret"));
        Adapter::open(&PlannedOutside::Endpoint(spec.clone()), &around)
    };
    let missing = open(None).unwrap_err();
    assert!(missing.to_string().contains("`THE_KEY`"), "{missing}");
    let model = open(Some("secret-17")).unwrap().into_model();
    assert!(ask(model.generate().unwrap(), GREEDY, "x").is_ok());
    let model = open(Some("secret-18")).unwrap().into_model();
    let refused = ask(model.generate().unwrap(), GREEDY, "x").unwrap_err();
    assert!(matches!(refused, ModelError::Gone { .. }), "{refused}");
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

#[test]
fn no_more_requests_are_on_their_way_or_in_a_minute_than_may_be() {
    let server = Chat::start().unwrap();
    let spec = PlannedEndpoint {
        requests_per_minute: Some(1200),
        at_once: 2,
        ..planned(&server, "good", &["generate"])
    };
    let model = open(spec).unwrap().into_model();
    let generate = model.generate().unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| ask(generate, GREEDY, "x").unwrap());
        }
    });
    assert!(server.most_at_once() <= 2);
    // Six requests, one each 50 ms.
    assert!(begun.elapsed().as_millis() >= 250);
}

#[test]
fn likelihood_is_offered_only_by_servers_that_give_it() {
    let server = Chat::start().unwrap();
    let refused = open(planned(&server, "no-echo", &["logprob"])).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("no log-probabilities of a prompt"),
        "{refused}"
    );
    let model = open(planned(&server, "good", &["logprob"]))
        .unwrap()
        .into_model();
    assert!(model.generate().is_none());
    let images = Visual::Encoded(vec![Bytes::from_static(PNG)]);
    let found = model
        .score()
        .unwrap()
        .score(&images, &["a photo of it"])
        .unwrap();
    assert_eq!(found, [[-0.5, -0.2, -0.2]]);
    let model = open(planned(&server, "lies", &["logprob"]))
        .unwrap()
        .into_model();
    let lie = model
        .score()
        .unwrap()
        .score(&images, &["a photo"])
        .unwrap_err();
    assert_eq!(lie.to_string(), "answered a log-probability above 0");
}

#[test]
fn vectors_of_texts_come_in_their_order() {
    let server = Chat::start().unwrap();
    let adapter = open(planned(&server, "good", &["embed_text"])).unwrap();
    assert!(adapter.offers().is_empty(), "no task embeds texts alone");
    let vectors = adapter.embed_texts(&["", "abc"]).unwrap();
    assert_eq!(vectors[0], [0.0, 1.0]);
    assert!((vectors[1][0] - 3.0 / 10f32.sqrt()).abs() < 1e-6);
    let adapter = open(planned(&server, "lies", &["embed_text"])).unwrap();
    let lie = adapter.embed_texts(&["a", "b"]).unwrap_err();
    assert_eq!(lie.to_string(), "answered vectors of other texts");
}
