//! Laws of the caption metrics, whatever the captions.

use proptest::prelude::*;
use proptest::sample::Index;
use sightline_metrics::cider::DocumentFrequencies;
use sightline_metrics::{Caption, CaptionItem, DynMetric, Input, Observations, registry};

const IDS: [&str; 15] = [
    "bleu-1",
    "bleu-2",
    "bleu-3",
    "bleu-4",
    "cider",
    "cider-d",
    "rouge-l",
    "rouge-score-1",
    "rouge-score-1-stem",
    "rouge-score-2",
    "rouge-score-2-stem",
    "rouge-score-l",
    "rouge-score-l-stem",
    "rouge-score-lsum",
    "rouge-score-lsum-stem",
];

fn metrics() -> impl Iterator<Item = &'static dyn DynMetric> {
    IDS.iter()
        .map(|id| registry::metric(id).expect("registered"))
}

/// Few different words, so that captions share some, with white space of every kind.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => "[abc]",
        2 => "(dog|dogs|sitting|sits|ponies)",
        1 => "[A-Zéλ0-9'._-]{1,3}",
    ];
    let space = prop_oneof![8 => Just(" "), 1 => Just("\n"), 1 => "[ \t\u{1c}\u{a0}\u{2028}]{0,2}".prop_map(|s| match s.as_str() {
        "" => "",
        _ => "  ",
    })];
    prop::collection::vec((word, space), 0..14).prop_map(|words| {
        words
            .into_iter()
            .map(|(word, space)| word + space)
            .collect()
    })
}

fn item() -> impl Strategy<Value = CaptionItem> {
    (
        text(),
        prop::collection::vec(text(), 1..5),
        any::<Option<Index>>(),
    )
        .prop_map(|(candidate, references, copied)| {
            let candidate = copied.map_or(candidate, |index| index.get(&references).clone());
            of(&candidate, &references)
        })
}

fn of(candidate: &str, references: &[String]) -> CaptionItem {
    let caption = |text: &str| Caption::from_tokens(text, text);
    CaptionItem {
        candidate: caption(candidate),
        references: references.iter().map(|text| caption(text)).collect(),
    }
}

fn observed(items: &[CaptionItem]) -> Observations {
    let mut observations = Observations::default();
    observations.set(Input::Caption, items.to_vec());
    observations
}

fn per_item(metric: &dyn DynMetric, items: &[CaptionItem]) -> Vec<f64> {
    let values = metric.per_item(&observed(items)).expect("computed");
    values
        .into_iter()
        .map(|value| value.expect("a value"))
        .collect()
}

fn value(metric: &dyn DynMetric, items: &[CaptionItem]) -> f64 {
    let outcome = metric.evaluate(&observed(items), None).expect("computed");
    outcome.value.expect("a value")
}

proptest! {
    #[test]
    fn values_are_in_range(items in prop::collection::vec(item(), 1..8)) {
        for metric in metrics() {
            let [low, high] = metric.info().range;
            for value in per_item(metric, &items).into_iter().chain([value(metric, &items)]) {
                prop_assert!(low <= value && value <= high + 1e-12, "{} {value}", metric.info().id);
            }
        }
    }

    #[test]
    fn the_order_of_references_does_not_matter(
        items in prop::collection::vec(item(), 1..6),
        turn in 1usize..4,
    ) {
        let mut turned = items.clone();
        for item in &mut turned {
            let by = turn % item.references.len();
            item.references.rotate_left(by);
            item.references.reverse();
        }
        for metric in metrics() {
            let values = per_item(metric, &items).into_iter().zip(per_item(metric, &turned));
            for (before, after) in values {
                prop_assert!((before - after).abs() <= 1e-12, "{}", metric.info().id);
            }
        }
    }

    #[test]
    fn sums_of_parts_make_the_value_of_the_whole(
        items in prop::collection::vec(item(), 1..12),
        part in 1usize..5,
    ) {
        for metric in metrics() {
            let whole = value(metric, &items);
            let parts = metric.value_in_parts(&observed(&items), part).expect("computed");
            let parts = parts.expect("a value");
            prop_assert!((whole - parts).abs() <= 1e-12 * whole.abs(), "{}", metric.info().id);
        }
    }

    #[test]
    fn a_candidate_that_equals_a_reference_is_best(
        texts in prop::collection::vec((text(), text()), 2..5),
    ) {
        // A word of its own, so that every image has n-grams of every length that no other has.
        let texts: Vec<(String, String)> = texts
            .into_iter()
            .zip("vwxyz".chars())
            .map(|((text, other), own)| (format!("{own}{own}{own} so we go {text}"), other))
            .collect();
        let one: Vec<CaptionItem> =
            texts.iter().map(|(text, _)| of(text, &[text.clone(), text.clone()])).collect();
        let among: Vec<CaptionItem> =
            texts.iter().map(|(text, other)| of(text, &[other.clone(), text.clone()])).collect();
        for metric in metrics() {
            let info = metric.info();
            let items = if info.id.starts_with("cider") { &one } else { &among };
            for value in per_item(metric, items).into_iter().chain([value(metric, items)]) {
                prop_assert!(value >= info.range[1] - 1e-8, "{} {value}", info.id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn the_number_of_threads_does_not_matter(items in prop::collection::vec(item(), 1..200)) {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| {
                let values: Vec<Vec<f64>> = metrics().map(|metric| per_item(metric, &items)).collect();
                (values, DocumentFrequencies::from_items(&items).to_json().expect("written"))
            })
        };
        prop_assert_eq!(run(1), run(3));
    }
}

#[test]
fn captions_of_a_megabyte_are_scored() {
    let long = |step: usize| -> String {
        let words = (0..150_000).map(|i: usize| format!("w{} ", i * step % 40_009));
        words.collect()
    };
    let lines = "so many lines\n".repeat(15_000);
    let items = [
        of(&long(7), &[long(11), "w1 w2".to_owned()]),
        of("w1 w2", &[long(7)]),
        of(&lines, std::slice::from_ref(&lines)),
        of(&"x".repeat(1 << 20), &["x".repeat(1 << 20)]),
    ];
    for metric in metrics() {
        let values = per_item(metric, &items);
        assert!(
            values.iter().all(|value| value.is_finite()),
            "{}",
            metric.info().id
        );
    }
}
