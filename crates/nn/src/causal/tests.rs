//! What holds for every form of a language model.

use candle_core::{Device, Tensor};
use sightline_core::Seed;

use super::*;
use crate::Weights;

/// Every way to tell positions, in every arrangement.
fn forms() -> Vec<CausalSpec> {
    let rotary = |pairing| Positions::Rotary {
        dims: 2,
        base: 1e4,
        pairing,
    };
    let positions = [
        example().positions,
        Positions::Learned {
            rows: 32,
            offset: 2,
        },
        rotary(Pairing::Halves),
        rotary(Pairing::Neighbours),
        Positions::Alibi { bias_max: 8.0 },
    ];
    let arrangements = [Arrangement::Pre, Arrangement::Post, Arrangement::Parallel];
    let pairs = positions
        .iter()
        .flat_map(|p| arrangements.iter().map(move |a| (*p, *a)));
    pairs
        .map(|(positions, arrangement)| CausalSpec {
            arrangement,
            positions,
            ..example()
        })
        .collect()
}

fn model(spec: &CausalSpec) -> CausalTransformer {
    let weights = Weights::random(Seed(3), &Device::Cpu);
    CausalTransformer::load(&weights, &weights, spec).unwrap()
}

fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn reading_in_parts_is_reading_at_once() {
    for spec in forms() {
        let model = model(&spec);
        let embeds = model
            .embed(&[vec![1, 2, 3, 4, 5], vec![9, 8, 7, 6, 5]])
            .unwrap();
        let whole = model.forward(&embeds, None).unwrap();
        let mut cache = model.start(2);
        for (from, len) in [(0, 2), (2, 1), (3, 2)] {
            let part = embeds.narrow(1, from, len).unwrap();
            let hidden = model.advance(Next::new(&part), &mut cache).unwrap();
            let same = whole.narrow(1, from, len).unwrap();
            assert!(distance(&hidden, &same) < 1e-5, "{spec:?}");
        }
        assert_eq!(cache.len(), 5);
    }
}

#[test]
fn padding_on_the_left_changes_nothing() {
    for spec in forms() {
        let model = model(&spec);
        let alone = model.embed(&[vec![3, 4, 5]]).unwrap();
        let alone = model.forward(&alone, None).unwrap();
        let padded = model.embed(&[vec![0, 0, 3, 4, 5]]).unwrap();
        let present = [vec![0, 0, 1, 1, 1]];
        let padded = model.forward(&padded, Some(&present)).unwrap();
        let same = padded.narrow(1, 2, 3).unwrap();
        assert!(distance(&alone, &same) < 1e-5, "{spec:?}");
    }
}

#[test]
fn no_token_sees_a_later_one() {
    for spec in forms() {
        let model = model(&spec);
        let states = |last| {
            let embeds = model.embed(&[vec![1, 2, last]]).unwrap();
            model.forward(&embeds, None).unwrap()
        };
        let (a, b) = (states(3), states(4));
        let before = |x: &Tensor| x.narrow(1, 0, 2).unwrap();
        assert!(distance(&before(&a), &before(&b)) == 0.0, "{spec:?}");
        assert!(distance(&a, &b) > 0.0);
    }
}

#[test]
fn continuations_of_a_prompt_are_as_likely_as_when_read_with_it() {
    let model = model(&example());
    let prompt = model.embed(&[vec![1, 2]]).unwrap();
    let (network, hidden) = CausalNetwork::read(&model, Next::new(&prompt)).unwrap();
    let last = model
        .logits(&hidden)
        .unwrap()
        .get(0)
        .unwrap()
        .get(1)
        .unwrap();
    let continuations = [vec![3, 4, 5], vec![6], vec![]];
    let cache = network.cache();
    let found = continuation_log_probabilities(&model, cache, &last, &continuations).unwrap();
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1, 0]);
    let whole = model.embed(&[vec![1, 2, 3, 4, 5]]).unwrap();
    let logits = model.logits(&model.forward(&whole, None).unwrap()).unwrap();
    let rows = logits.get(0).unwrap().to_vec2::<f32>().unwrap();
    for (i, value) in found[0].iter().enumerate() {
        let row = &rows[i + 1];
        let total: f32 = row.iter().map(|v| v.exp()).sum();
        assert!((row[3 + i] - total.ln() - value).abs() < 1e-5);
    }
    assert!(continuation_log_probabilities(&model, cache, &last, &[vec![99]]).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = model(&example());
    let read = |shape: (usize, usize, usize), rows| {
        let embeds = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        let read = model.advance(Next::new(&embeds), &mut model.start(rows));
        read.map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        read((1, 33, 8), 1),
        "sequence of 33 tokens, the limit is 32"
    );
    let told = "what a language model reads has the shape [1, 3, 7], needed is [1, 1 or more, 8]";
    assert_eq!(read((1, 3, 7), 1), told);
    assert!(read((2, 3, 8), 1).contains("[1, 1 or more, 8]"));
    assert!(read((1, 0, 8), 1).contains("1 or more"));
    let embeds = model.embed(&[vec![1, 2]]).unwrap();
    assert!(model.forward(&embeds, Some(&[vec![1]])).is_err());
    assert!(model.start(2).select(&[2]).is_err());
}

#[test]
fn tokens_may_be_added_and_the_table_has_to_fit() {
    let model = model(&example());
    let device = &Device::Cpu;
    let more = Tensor::ones((2, 8), candle_core::DType::F32, device).unwrap();
    let old = model
        .embed(&[(0..11).collect()])
        .unwrap()
        .squeeze(0)
        .unwrap();
    let table = Tensor::cat(&[&old, &more], 0).unwrap();
    let larger = model.with_tokens(table, None).unwrap();
    assert_eq!(larger.spec().vocabulary_size, 13);
    let states = |model: &CausalTransformer| {
        let embeds = model.embed(&[vec![1, 5, 2]]).unwrap();
        let hidden = model.forward(&embeds, None).unwrap();
        model.logits(&hidden).unwrap()
    };
    let same = states(&larger).narrow(2, 0, 11).unwrap();
    assert!(distance(&states(&model), &same) < 1e-6);
    assert!(larger.embed(&[vec![12]]).is_ok());
    let narrow = Tensor::ones((13, 7), candle_core::DType::F32, device).unwrap();
    let told = model.with_tokens(narrow, None).unwrap_err().to_string();
    assert_eq!(
        told,
        "the table of tokens has the shape [13, 7], needed is [rows, 8]"
    );
}

#[test]
fn prompts_are_filled_up_in_front() {
    let ones = |len| Tensor::ones((len, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let (batch, present) = padded_left(&[ones(1), ones(3)]).unwrap();
    assert_eq!(batch.dims(), [2, 3, 2]);
    let sums = batch.sum(2).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(sums, [[0.0, 0.0, 2.0], [2.0, 2.0, 2.0]]);
    assert_eq!(present, Some(vec![vec![0, 0, 1], vec![1, 1, 1]]));
    assert_eq!(padded_left(&[ones(2), ones(2)]).unwrap().1, None);
}

#[test]
fn adapters_of_zeros_change_nothing_and_others_are_read_anew() {
    let adapter = AdapterSpec {
        hidden: 3,
        names: AdapterNames {
            expand: example().names.expand,
            contract: example().names.contract,
            down: "down",
            up: "up",
        },
    };
    let weights = Weights::random(Seed(3), &Device::Cpu);
    let mut zeros = std::collections::BTreeMap::new();
    for layer in 0..example().depth {
        for (name, shape) in [
            ("down.weight", vec![3, 8]),
            ("down.bias", vec![3]),
            ("up.weight", vec![8, 3]),
            ("up.bias", vec![8]),
        ] {
            let zero = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
            zeros.insert(format!("h.{layer}.{name}"), zero);
        }
    }
    let zeros = Weights::of_tensors(zeros, &Device::Cpu);
    for spec in forms() {
        let plain = model(&spec);
        let adapted = model(&CausalSpec {
            adapter: Some(adapter),
            ..spec.clone()
        });
        let embeds = plain.embed(&[vec![1, 2, 3]]).unwrap();
        let states = |model: &CausalTransformer| model.forward(&embeds, None).unwrap();
        let silent = adapted.with_adapters(&zeros).unwrap();
        assert!(
            distance(&states(&plain), &states(&silent)) < 1e-6,
            "{spec:?}"
        );
        assert!(
            distance(&states(&plain), &states(&adapted)) > 1e-5,
            "{spec:?}"
        );
        let again = silent.with_adapters(&weights).unwrap();
        assert!(
            distance(&states(&adapted), &states(&again)) < 1e-6,
            "{spec:?}"
        );
    }
}
