//! `VisualBERT`: how plain texts reach the encoder, and inputs that cannot.

use std::fs;
use std::slice::from_ref;

use candle_core::{DType, Device, Tensor};
use sightline_models::families::visualbert::{Head, Inputs, RegionInputs, VisualBert};
use sightline_models::{Model, Phrases, Question, TaggedText, Visual};
use sightline_nn::tower::BertInput;

use super::support::Checkpoint;

/// Ids are the places in this list.
const PIECES: [&str; 14] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "?", "is", "the", "cat", "##s", "red", "on",
    "mat", ",",
];

fn load(name: &str) -> VisualBert {
    let folder = Checkpoint::copy("visualbert", name);
    fs::write(folder.file("vocab.txt"), PIECES.join("\n")).unwrap();
    VisualBert::load(&folder.published(), &Device::Cpu).unwrap()
}

/// Regions of one image, told apart by `phase`.
fn image(count: usize, phase: f64) -> Visual {
    let features = Tensor::arange(0f32, (count * 20) as f32, &Device::Cpu).unwrap();
    let features = ((features * 0.7).unwrap() + phase).unwrap().sin().unwrap();
    Visual::Regions {
        features: features.reshape((1, count, 20)).unwrap(),
        present: Tensor::ones((1, count), DType::F32, &Device::Cpu).unwrap(),
    }
}

/// One sample, whose regions have type 0 if nothing else is said.
fn encode(model: &VisualBert, ids: &[u32], types: &[u32], regions: RegionInputs<'_>) -> Tensor {
    let (ids, types) = ([ids.to_vec()], [types.to_vec()]);
    let first = [vec![0; regions.features.dims()[1]]];
    let regions = RegionInputs {
        types: regions.types.or(Some(&first)),
        ..regions
    };
    let inputs = Inputs {
        text: BertInput {
            types: Some(&types),
            ..BertInput::new(&ids)
        },
        present: None,
        regions: Some(regions),
    };
    model.encode(inputs).unwrap()
}

fn plain(features: &Tensor) -> RegionInputs<'_> {
    RegionInputs {
        features,
        present: None,
        types: None,
        alignment: None,
    }
}

fn close(actual: &Tensor, expected: &Tensor) {
    assert_eq!(actual.dims(), expected.dims());
    let difference = (actual - expected).unwrap().abs().unwrap();
    let difference = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(difference < 1e-6, "{difference}");
}

#[test]
fn an_answer_is_read_at_a_mask_behind_the_question() {
    let model = load("vqa");
    let Head::QuestionAnswering(head) = model.head() else {
        panic!("another head");
    };
    let image = image(3, 0.0);
    let ids = [2, 6, 7, 8, 9, 10, 5, 4, 3];
    let (features, _) = image.regions().unwrap();
    let sequence = encode(&model, &ids, &[0; 9], plain(features));
    let expected = head.forward(&sequence, &[ids.len()]).unwrap();
    let classify = model.classify().unwrap();
    for question in ["Is the cats red?", "is the cats red", "Is the cats, red ??"] {
        let logits = classify.classify(from_ref(&image), &[question]).unwrap();
        close(&logits, &expected);
    }

    // The context of 40 words keeps the mask and the marks of a question that is too long.
    let long = "cat ".repeat(60);
    let cut = "cat ".repeat(36);
    let ask = |question: &str| classify.classify(from_ref(&image), &[question]).unwrap();
    close(&ask(&long), &ask(&cut));
}

#[test]
fn two_images_stand_one_behind_the_other_with_types_of_their_own() {
    let model = load("nlvr2");
    let Head::VisualReasoning(head) = model.head() else {
        panic!("another head");
    };
    let (left, right) = (image(2, 0.0), image(3, 1.0));
    let (first, _) = left.regions().unwrap();
    let (second, _) = right.regions().unwrap();
    let features = Tensor::cat(&[first, second], 1).unwrap();
    let types = [vec![0, 0, 1, 1, 1]];
    let regions = RegionInputs {
        types: Some(&types),
        ..plain(&features)
    };
    let sequence = encode(&model, &[2, 7, 8, 6, 10, 3], &[0; 6], regions);
    let expected = head.forward(&sequence).unwrap();
    let classify = model.classify().unwrap();
    assert_eq!(classify.images(), 2);
    let logits = classify.classify(&[left, right], &["The cat is red"]);
    close(&logits.unwrap(), &expected);
}

#[test]
fn candidates_stand_behind_the_question_and_words_lend_regions_their_positions() {
    let model = load("vcr");
    let Head::MultipleChoice(head) = model.head() else {
        panic!("another head");
    };
    let image = image(3, 0.0);
    let question = TaggedText {
        text: "Is cats red?",
        tags: vec![(3..7, 2)],
    };
    let candidate = TaggedText {
        text: "the cat",
        tags: vec![(4..7, 2), (0..3, 0)],
    };
    let choose = model.choose().unwrap();
    let asked = Question {
        question: question.clone(),
        candidates: vec!["is".into(), candidate.clone()],
    };
    let logits = choose.choose(&image, &[asked]).unwrap();

    // [CLS] is cat ##s red ? [SEP] the cat [SEP]
    let ids = [2, 6, 8, 9, 10, 5, 3, 7, 8, 3];
    let types = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1];
    let alignment = [vec![vec![7], vec![], vec![2, 3, 8]]];
    let (features, _) = image.regions().unwrap();
    let regions = RegionInputs {
        alignment: Some(&alignment),
        ..plain(features)
    };
    let sequence = encode(&model, &ids, &types, regions);
    let expected = head.forward(&sequence).unwrap();
    close(&logits.narrow(1, 1, 1).unwrap(), &expected);

    // What lies beyond the context names nothing.
    let long = "the ".repeat(60) + "cat";
    let last = long.len();
    let tagged = |tags| Question {
        question: TaggedText { text: &long, tags },
        candidates: vec!["the".into()],
    };
    let [with, without] = [vec![(last - 3..last, 1)], Vec::new()]
        .map(|tags| choose.choose(&image, &[tagged(tags)]).unwrap());
    close(&with, &without);

    let refused = |question: TaggedText<'_>| {
        let candidates = vec!["the".into()];
        let question = Question {
            question,
            candidates,
        };
        choose.choose(&image, &[question]).unwrap_err().to_string()
    };
    let text = "is cät";
    let tags = |tag| TaggedText {
        text,
        tags: vec![tag],
    };
    assert_eq!(
        refused(tags((0..2, 3))),
        "a word names region 3, there are 3"
    );
    for bytes in [0..20, 5..6, 2..3, 3..3] {
        let told = refused(tags((bytes.clone(), 0)));
        let (start, end) = (bytes.start, bytes.end);
        assert_eq!(
            told,
            format!("bytes {start} to {end} of `is cät` are no words that the model reads")
        );
    }
    let uneven = [1, 2].map(|count| Question {
        question: "is".into(),
        candidates: vec!["the".into(); count],
    });
    let images = stack(&image, &image);
    assert_eq!(
        choose.choose(&images, &uneven).unwrap_err().to_string(),
        "2 candidates, needed are 1"
    );
}

fn stack(first: &Visual, second: &Visual) -> Visual {
    let ((a, b), (c, d)) = (first.regions().unwrap(), second.regions().unwrap());
    Visual::Regions {
        features: Tensor::cat(&[a, c], 0).unwrap(),
        present: Tensor::cat(&[b, d], 0).unwrap(),
    }
}

#[test]
fn a_phrase_is_read_at_its_last_word() {
    let model = load("flickr");
    let Head::RegionToPhrase(head) = model.head() else {
        panic!("another head");
    };
    let image = image(3, 0.0);
    let (features, present) = image.regions().unwrap();
    // [CLS] the cat ##s on the mat [SEP]
    let ids = [2, 7, 8, 9, 11, 7, 12, 3];
    let sequence = encode(&model, &ids, &[0; 8], plain(features));
    let scores = head.scores(&sequence, ids.len(), &[vec![3, 6]], present);
    let expected = candle_shares(&scores.unwrap());
    let caption = Phrases {
        caption: "The cats on the mat",
        phrases: vec![0..8, 12..19],
    };
    let ground = model.ground().unwrap();
    let shares = ground.ground(&image, &[caption]).unwrap();
    close(&shares[0], &expected.get(0).unwrap());

    let beyond = "the ".repeat(60);
    let caption = Phrases {
        caption: &beyond,
        phrases: vec![0..3, 200..203],
    };
    let error = ground.ground(&image, &[caption]).unwrap_err().to_string();
    assert!(
        error.starts_with("bytes 200 to 203 of `the the "),
        "{error}"
    );
}

fn candle_shares(scores: &Tensor) -> Tensor {
    let powers = scores.exp().unwrap();
    let sums = powers.sum_keepdim(2).unwrap();
    powers.broadcast_div(&sums).unwrap()
}

#[test]
fn unusable_inputs_are_errors() {
    let model = load("vqa");
    let classify = model.classify().unwrap();
    let told = |images: &[Visual], texts: &[&str]| {
        let error = classify.classify(images, texts).unwrap_err();
        error.to_string()
    };
    let pixels = Tensor::zeros((1, 3, 8, 8), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(
        told(&[Visual::Pixels(pixels)], &["is"]),
        "the model takes regions, not pixels"
    );
    let one = image(3, 0.0);
    assert_eq!(told(&[], &["is"]), "0 images to a text, needed are 1");
    assert_eq!(
        told(std::slice::from_ref(&one), &["is", "the"]),
        "1 images, needed are 2"
    );
    let shaped = |features: &[usize], present: &[usize]| Visual::Regions {
        features: Tensor::zeros(features, DType::F32, &Device::Cpu).unwrap(),
        present: Tensor::zeros(present, DType::F32, &Device::Cpu).unwrap(),
    };
    assert_eq!(
        told(&[shaped(&[1, 3, 7], &[1, 3])], &["is"]),
        "the batch of regions has the shape [1, 3, 7], needed is [1, R, 20]"
    );
    assert_eq!(
        told(&[shaped(&[1, 3, 20], &[1, 2])], &["is"]),
        "the mask of regions has the shape [1, 2], needed is [1, 3]"
    );

    let ids = [vec![2, 3]];
    let (features, _) = one.regions().unwrap();
    let encode = |regions: RegionInputs<'_>, present: Option<&[Vec<u8>]>| {
        let inputs = Inputs {
            text: BertInput::new(&ids),
            present,
            regions: Some(regions),
        };
        model.encode(inputs).unwrap_err().to_string()
    };
    let aligned = |alignment: &[Vec<Vec<u32>>]| {
        let regions = RegionInputs {
            alignment: Some(alignment),
            ..plain(features)
        };
        encode(regions, None)
    };
    assert_eq!(
        aligned(&[vec![vec![]; 2]]),
        "the alignment of words and regions has the shape [2], needed is for each of 1 images at least 3 \
         regions"
    );
    assert_eq!(
        aligned(&[vec![vec![40]; 3]]),
        "aligned position 40 is outside the table of 40 rows"
    );
    let types = [vec![0, 2, 0]];
    let typed = RegionInputs {
        types: Some(&types),
        ..plain(features)
    };
    assert_eq!(
        encode(typed, None),
        "token type 2 is outside the table of 2 rows"
    );
    assert_eq!(
        encode(plain(features), Some(&[vec![1]])),
        "the mask of words has the shape [1], needed is 1 rows of 2"
    );
    assert!(model.choose().is_none() && model.embed().is_none());
}
