//! What scikit-learn learns from the same features (`benchmarks/peers/probe/golden.py`).

use std::fs;
use std::io::Read;

use serde::Deserialize;
use sightline_harness::probe::{Features, logistic, svm};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    program: String,
    command: String,
    logistic: Vec<Logistic>,
    svm: Vec<Svm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logistic {
    features: Vec<Vec<f32>>,
    labels: Vec<u32>,
    classes: usize,
    c: f64,
    test: Vec<Vec<f32>>,
    /// One row for two classes.
    coefficients: Vec<Vec<f64>>,
    intercepts: Vec<f64>,
    probabilities: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Svm {
    features: Vec<Vec<f32>>,
    positive: Vec<bool>,
    folds: Vec<usize>,
    test: Vec<Vec<f32>>,
    costs: Vec<f64>,
    decisions: Vec<Vec<f64>>,
    average_precisions: Vec<f64>,
    cost: f64,
}

fn features(rows: &[Vec<f32>]) -> Features {
    Features::new(rows.concat(), rows[0].len()).unwrap()
}

fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let apart = (found - expected).abs();
    assert!(
        apart <= tolerance * expected.abs().max(1.0),
        "{what}: {found} instead of {expected}"
    );
}

#[test]
fn probes_learn_what_scikit_learn_learns() {
    let folder = fs::read_dir("tests/fixtures/probe").unwrap();
    let mut cases = 0;
    for entry in folder {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "gz") {
            continue;
        }
        let mut text = String::new();
        let packed = fs::File::open(&path).unwrap();
        flate2::read::GzDecoder::new(packed)
            .read_to_string(&mut text)
            .unwrap();
        let file: File = serde_json::from_str(&text).unwrap();
        assert!(!file.program.is_empty() && !file.command.is_empty());
        for case in &file.logistic {
            check_logistic(case);
        }
        for case in &file.svm {
            check_svm(case);
        }
        cases += file.logistic.len() + file.svm.len();
    }
    assert!(cases > 0, "no golden case");
}

fn check_logistic(case: &Logistic) {
    let features = features(&case.features);
    let fitted = logistic::fit(&features, &case.labels, case.classes, case.c);
    // The multinomial loss does not see what is added to all constants, and scikit-learn's gradient never adds anything.
    let weights: Vec<f64> = fitted.weights().to_vec();
    let own = if case.classes == 2 {
        &weights[features.width()..]
    } else {
        &weights
    };
    for (found, expected) in own.iter().zip(case.coefficients.iter().flatten()) {
        close("coefficient", *found, *expected, 1e-4);
    }
    let constants = &fitted.bias()[fitted.bias().len() - case.intercepts.len()..];
    for (found, expected) in constants.iter().zip(&case.intercepts) {
        close("constant", *found, *expected, 1e-4);
    }
    for (row, expected) in case.test.iter().zip(&case.probabilities) {
        let scores = fitted.scores(row);
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let odds: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let sum: f64 = odds.iter().sum();
        for (odd, expected) in odds.iter().zip(expected) {
            close("probability", odd / sum, *expected, 1e-5);
        }
    }
}

fn check_svm(case: &Svm) {
    let features = features(&case.features);
    assert_eq!(case.folds, svm::stratified_folds(&case.positive, 3));
    for (cost, decisions) in case.costs.iter().zip(&case.decisions) {
        let fitted = svm::fit(&features, &case.positive, *cost);
        for (row, expected) in case.test.iter().zip(decisions) {
            close("decision", fitted.scores(row)[0], *expected, 1e-3);
        }
    }
    let chosen = svm::fit_with_choice(&features, &case.positive, &|| true).unwrap();
    let at = case
        .costs
        .iter()
        .position(|cost| cost.to_bits() == chosen.cost.to_bits())
        .unwrap();
    close("cost", chosen.cost, case.cost, 0.0);
    close(
        "precision",
        chosen.average_precision,
        case.average_precisions[at],
        1e-9,
    );
}
