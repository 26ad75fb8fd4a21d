//! What holds for sacrebleu's and nltk's metrics whatever the captions.

use sightline_core::Seed;
use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::{Caption, CaptionItem, DynMetric, Input, METRICS, Observations, words};

/// Pieces that captions are made of here: punctuation, digits, other scripts, odd white space, marks that
/// change length with their case.
const PIECES: [&str; 24] = [
    "a", "dog", "dogs", "The", " ", " ", " ", "\t", "\n", "\u{a0}", "\u{1c}", ".", ",", "-", "1",
    "½", "&amp;", "'s ", "猫", "。", "İ", "Σ", "é", "😺",
];

fn odd_caption(rng: &mut Rng) -> Caption {
    let length = rng.below(30);
    let text: String = (0..length).map(|_| *rng.pick(&PIECES)).collect();
    Caption::from_tokens(&text, &text)
}

fn odd_item(rng: &mut Rng) -> CaptionItem {
    CaptionItem {
        candidate: odd_caption(rng),
        references: (0..rng.below(5)).map(|_| odd_caption(rng)).collect(),
    }
}

fn metrics() -> impl Iterator<Item = &'static dyn DynMetric> {
    let is_ours = |id: &str| id.starts_with("sacrebleu-") || id.starts_with("nltk-");
    METRICS
        .iter()
        .copied()
        .filter(move |metric| is_ours(metric.info().id))
}

fn value(metric: &dyn DynMetric, item: &CaptionItem) -> Option<f64> {
    let mut observations = Observations::default();
    observations.set(Input::Caption, vec![item.clone()]);
    metric.per_item(&observations).unwrap()[0]
}

#[test]
fn the_order_of_references_does_not_matter() {
    let mut rng = Seed(17).rng();
    for round in 0..200 {
        let item = match round % 2 {
            0 => CaptionItem::random(&mut rng),
            _ => odd_item(&mut rng),
        };
        let mut turned = item.clone();
        turned.references.reverse();
        for metric in metrics() {
            assert_eq!(
                value(metric, &item),
                value(metric, &turned),
                "{}: {item:?}",
                metric.info().id
            );
        }
    }
}

#[test]
fn odd_captions_stay_in_range_and_only_those_without_references_have_no_value() {
    let mut rng = Seed(18).rng();
    for _ in 0..500 {
        let item = odd_item(&mut rng);
        for metric in metrics() {
            let info = metric.info();
            match value(metric, &item) {
                Some(value) => assert!(
                    (info.range[0]..=info.range[1] + 1e-12 * info.range[1].min(100.0))
                        .contains(&value),
                    "{}: {value} for {item:?}",
                    info.id
                ),
                None => assert!(
                    item.references.is_empty() || info.id == "nltk-bleu-method6",
                    "{}: {item:?}",
                    info.id
                ),
            }
        }
    }
}

#[test]
fn a_reference_that_says_the_same_is_as_good_as_it_gets() {
    let mut rng = Seed(19).rng();
    for _ in 0..200 {
        let mut item = odd_item(&mut rng);
        item.references.push(item.candidate.clone());
        if words::split(item.candidate.raw()).next().is_none() {
            continue;
        }
        for (metric, best) in [
            ("sacrebleu-bleu", 100.0),
            ("sacrebleu-chrf", 100.0),
            ("sacrebleu-chrf++", 100.0),
            ("sacrebleu-ter", 0.0),
        ] {
            let metric = metrics().find(|m| m.info().id == metric).unwrap();
            let found = value(metric, &item).unwrap();
            assert!(
                (found - best).abs() < 1e-9,
                "{}: {found} for {item:?}",
                metric.info().id
            );
        }
    }
}
