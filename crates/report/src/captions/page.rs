//! What the page's template is filled in with, from the top to the scores.

use std::sync::LazyLock;

use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;
use sightline_core::text::{count, counted, printable};

use super::cards::{ListView, lists, ranking_note};
use super::data::{
    CaptionReport, Comparison, Intervals, LeftOut, MetricColumn, SourceFile, Unpaired, value_of,
};
use super::numbers::{fixed, number, p_value, signed};
use super::plot::{HistogramView, histogram_view};
use crate::error::Error;
use crate::format::{command, confidence};
use crate::page::{hash, style};

/// The page, without its style and script.
const TEMPLATE: &str = include_str!("../templates/captions.html");
static STYLE: LazyLock<String> = LazyLock::new(|| style(include_str!("../templates/captions.css")));
const SCRIPT: &str = include_str!("../templates/captions.js");

/// A corrected p-value below this one says that two values differ, as on the board.
const LEVEL: f64 = 0.05;

/// The page for `report`.
///
/// Fails if a metric has not exactly one value for each image, or if images are to be ranked by a
/// metric that the report does not have.
pub fn caption_page(report: &CaptionReport<'_>) -> Result<String, Error> {
    report.check()?;
    let view = page_view(report)?;
    let template = |source| Error::Template { source };
    let mut environment = Environment::new();
    environment
        .add_template("captions.html", TEMPLATE)
        .map_err(template)?;
    let page = environment
        .get_template("captions.html")
        .map_err(template)?;
    page.render(Value::from(Serde(view))).map_err(template)
}

#[derive(Serialize)]
struct PageView {
    style: &'static str,
    style_hash: String,
    script: &'static str,
    script_hash: String,
    title: String,
    version: String,
    images: String,
    left_out: Option<String>,
    files: Vec<FileView>,
    command: String,
    intervals: Option<String>,
    has_baseline: bool,
    has_paper_values: bool,
    has_cider: bool,
    scores: Vec<ScoreView>,
    histograms: Vec<HistogramView>,
    /// Names of the metrics, in the order of the values of each image.
    metrics: Vec<String>,
    ranking: Option<String>,
    lists: Vec<ListView>,
}

#[derive(Serialize)]
struct FileView {
    role: &'static str,
    path: String,
    sha256: String,
}

#[derive(Serialize)]
struct ScoreView {
    id: String,
    version: u32,
    description: String,
    signature: Option<String>,
    range: String,
    higher_is_better: bool,
    value: NumberView,
    paper: Option<NumberView>,
    standard_error: Option<String>,
    detectable: Option<String>,
    images: String,
    comparison: Option<ComparisonView>,
}

/// A value with its interval.
#[derive(Serialize)]
struct NumberView {
    value: Option<String>,
    /// Every digit.
    exact: String,
    interval: Option<String>,
}

#[derive(Serialize)]
struct ComparisonView {
    /// Of how many images it is, if not of all.
    images: Option<String>,
    baseline: Option<String>,
    difference: NumberView,
    /// `better`, `worse`, `not shown to differ` or `not tested`.
    verdict: &'static str,
    differs: bool,
    p_bootstrap: PView,
    p_randomisation: PView,
}

/// A p-value and the one that is corrected.
#[derive(Serialize)]
struct PView {
    plain: Option<String>,
    corrected: Option<String>,
}

fn page_view(report: &CaptionReport<'_>) -> Result<PageView, Error> {
    let ranking = report.ranking()?;
    let baseline = report.baseline.as_ref();
    let frequencies = report.document_frequencies.as_ref();
    Ok(PageView {
        style: &STYLE,
        style_hash: hash(&STYLE),
        script: SCRIPT,
        script_hash: hash(SCRIPT),
        title: printable(report.title),
        version: printable(report.version),
        images: counted(report.images.len(), "image"),
        left_out: left_out(report.left_out),
        files: [
            Some(("References", &report.references)),
            Some(("Predictions", &report.predictions)),
            baseline.map(|file| ("Baseline", file)),
            frequencies.map(|file| ("Document frequencies", file)),
        ]
        .into_iter()
        .flatten()
        .map(|(role, file)| file_view(role, file))
        .collect(),
        command: printable(&command(report.command)),
        intervals: report.intervals.as_ref().map(intervals),
        has_baseline: report.metrics.iter().any(|m| m.comparison.is_some()),
        has_paper_values: report.metrics.iter().any(|m| paper_factor(m).is_some()),
        has_cider: report.metrics.iter().any(|m| m.id.starts_with(CIDER)),
        scores: report.metrics.iter().map(score_view).collect(),
        histograms: report.metrics.iter().map(histogram_view).collect(),
        metrics: report.metrics.iter().map(|m| printable(m.id)).collect(),
        ranking: ranking.map(|metric| ranking_note(report, metric)),
        lists: ranking.map_or_else(Vec::new, |metric| lists(report, metric)),
    })
}

fn file_view(role: &'static str, file: &SourceFile<'_>) -> FileView {
    FileView {
        role,
        path: printable(file.path),
        sha256: file.sha256.to_string(),
    }
}

/// What the references, the predictions and the baseline lacked, one sentence after the other.
fn left_out(left_out: LeftOut) -> Option<String> {
    let without = left_out.without_references;
    let references = (without > 0).then(|| {
        let images = counted(without, "image");
        format!("{images} without a caption in the references")
    });
    let predictions = lacked(left_out.predictions);
    let baseline = left_out.baseline.and_then(lacked);
    let baseline = baseline.map(|lacked| format!("for the baseline {lacked}"));
    let parts: Vec<String> = [references, predictions, baseline]
        .into_iter()
        .flatten()
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// `3 images without a prediction, 2 failed predictions and 1 prediction without references`.
fn lacked(unpaired: Unpaired) -> Option<String> {
    let Unpaired {
        missing,
        extra,
        failed,
    } = unpaired;
    let mut parts = Vec::new();
    if missing > 0 {
        parts.push(format!(
            "{} without a prediction",
            counted(missing, "image")
        ));
    }
    if failed > 0 {
        parts.push(counted(failed, "failed prediction"));
    }
    if extra > 0 {
        parts.push(format!(
            "{} without references",
            counted(extra, "prediction")
        ));
    }
    let last = parts.pop()?;
    Some(if parts.is_empty() {
        last
    } else {
        format!("{} and {last}", parts.join(", "))
    })
}

/// `95 % percentile bootstrap intervals, 1,000 resamples of the images, seed 17`.
fn intervals(intervals: &Intervals<'_>) -> String {
    format!(
        "{} {} bootstrap, {} of the images, seed {}",
        confidence(intervals.confidence),
        printable(intervals.method),
        counted(intervals.resamples as usize, "resample"),
        intervals.seed.0,
    )
}

/// What `cider` and its variants begin with.
const CIDER: &str = "cider";

/// What papers multiply a value by before they print it, where they do.
fn paper_factor(metric: &MetricColumn<'_>) -> Option<f64> {
    let is_share = metric.range.map(f64::to_bits) == [0.0, 1.0].map(f64::to_bits);
    (is_share || metric.id.starts_with(CIDER)).then_some(100.0)
}

fn score_view(metric: &MetricColumn<'_>) -> ScoreView {
    let images = metric.values.len();
    let with_value = (0..images).filter(|&row| value_of(&metric.values, row).is_some());
    let with_value = count(with_value.count() as u64);
    let all = count(images as u64);
    ScoreView {
        id: printable(metric.id),
        version: metric.version,
        description: printable(metric.description),
        signature: metric.signature.map(printable),
        range: format!("{} to {}", end(metric.range[0]), end(metric.range[1])),
        higher_is_better: metric.higher_is_better,
        value: number_view(metric.value, metric.interval, number),
        paper: paper_factor(metric).map(|factor| {
            let paper = |value: f64| fixed(value * factor, 1);
            number_view(metric.value, metric.interval, paper)
        }),
        standard_error: metric.standard_error.map(number),
        detectable: metric.detectable.map(number),
        images: if with_value == all {
            all
        } else {
            format!("{with_value} of {all}, the others have no value")
        },
        comparison: metric
            .comparison
            .as_ref()
            .map(|comparison| comparison_view(comparison, images, metric.higher_is_better)),
    }
}

fn comparison_view(
    comparison: &Comparison,
    images: usize,
    higher_is_better: bool,
) -> ComparisonView {
    let p = |plain: Option<f64>, corrected: Option<f64>| PView {
        plain: plain.map(p_value),
        corrected: corrected.map(p_value),
    };
    let corrected = [
        comparison.p_bootstrap_corrected,
        comparison.p_randomisation_corrected,
    ];
    let is_tested = corrected.iter().any(Option::is_some);
    let differs = is_tested && corrected.iter().flatten().all(|&p| p < LEVEL);
    ComparisonView {
        images: (comparison.images < images).then(|| {
            format!(
                "on {} with both values",
                counted(comparison.images, "image")
            )
        }),
        baseline: comparison.value.map(number),
        difference: number_view(comparison.difference, comparison.interval, signed),
        verdict: match comparison.difference {
            _ if !is_tested => "not tested",
            _ if !differs => "not shown to differ",
            Some(difference) if (difference > 0.0) == higher_is_better => "better",
            _ => "worse",
        },
        differs,
        p_bootstrap: p(comparison.p_bootstrap, comparison.p_bootstrap_corrected),
        p_randomisation: p(
            comparison.p_randomisation,
            comparison.p_randomisation_corrected,
        ),
    }
}

fn number_view(
    value: Option<f64>,
    interval: Option<[f64; 2]>,
    write: impl Fn(f64) -> String,
) -> NumberView {
    NumberView {
        exact: value.map_or(String::new(), |value| value.to_string()),
        value: value.map(&write),
        interval: interval.map(|[low, high]| format!("{}, {}", write(low), write(high))),
    }
}

/// An end of a metric's range.
fn end(value: f64) -> String {
    if value.is_finite() {
        value.to_string()
    } else if value > 0.0 {
        "∞".to_owned()
    } else {
        "−∞".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use sightline_core::{Digest, Seed};

    use super::*;
    use crate::captions::{Caption, DEFAULT_IMAGES_SHOWN, ImageRow};

    fn file(path: &str) -> SourceFile<'_> {
        SourceFile {
            path,
            sha256: Digest::of(path.as_bytes()),
        }
    }

    fn metric<'a>(id: &'a str, values: &[Option<f64>]) -> MetricColumn<'a> {
        let found: Vec<f64> = values.iter().copied().flatten().collect();
        MetricColumn {
            id,
            version: 1,
            description: "What it is.",
            signature: None,
            value: (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64),
            interval: None,
            standard_error: None,
            detectable: None,
            range: [0.0, 1.0],
            higher_is_better: true,
            values: values.to_vec(),
            comparison: None,
        }
    }

    fn image<'a>(id: &'a str, candidate: &'a str, references: &[&'a str]) -> ImageRow<'a> {
        let caption = |text| Caption {
            raw: text,
            tokenized: text,
        };
        ImageRow {
            id,
            candidate: caption(candidate),
            references: references.iter().copied().map(caption).collect(),
            baseline: None,
        }
    }

    fn report<'a>(metrics: Vec<MetricColumn<'a>>, images: Vec<ImageRow<'a>>) -> CaptionReport<'a> {
        CaptionReport {
            title: "captions.json",
            version: "0.1.0",
            command: &[],
            references: file("references.json"),
            predictions: file("captions.json"),
            baseline: None,
            document_frequencies: None,
            id_name: "image_id",
            left_out: LeftOut::default(),
            intervals: None,
            metrics,
            images,
            ranked_by: None,
            images_shown: DEFAULT_IMAGES_SHOWN,
        }
    }

    /// Four images, of which one has no value.
    fn small<'a>() -> CaptionReport<'a> {
        let images = vec![
            image(
                "17",
                "a man rides a brown horse on grass",
                &[
                    "a man rides a horse",
                    "a man on a brown horse",
                    "one rider on a horse",
                ],
            ),
            image("18", "", &["a dog"]),
            image("19", "a cat", &["two birds", "the birds sit"]),
            image("20", "a red bus", &["a red bus"]),
        ];
        let cider = [Some(1.25), None, Some(0.0), Some(10.0)];
        let bleu = [Some(0.75), Some(0.0), Some(0.0), Some(1.0)];
        report(
            vec![metric("bleu-1", &bleu), metric("cider-d", &cider)],
            images,
        )
    }

    /// The same with all that can be known.
    fn full<'a>() -> CaptionReport<'a> {
        let mut report = small();
        report.baseline = Some(file("other.json"));
        report.left_out.predictions = Unpaired {
            missing: 3,
            extra: 1,
            failed: 2,
        };
        report.intervals = Some(Intervals {
            confidence: 0.95,
            resamples: 1000,
            method: "percentile",
            seed: Seed(17),
        });
        for (image, other) in
            report
                .images
                .iter_mut()
                .zip(["a horse", "a dog", "a bird", "a red bus"])
        {
            image.baseline = Some(Caption {
                raw: other,
                tokenized: other,
            });
        }
        for metric in &mut report.metrics {
            metric.interval = Some([0.25, 0.5]);
            metric.standard_error = Some(0.0625);
            metric.detectable = Some(0.175);
            metric.comparison = Some(Comparison {
                images: 4,
                value: Some(0.375),
                difference: Some(0.0625),
                interval: Some([-0.125, 0.25]),
                p_bootstrap: Some(0.25),
                p_bootstrap_corrected: Some(0.5),
                p_randomisation: Some(0.125),
                p_randomisation_corrected: Some(0.25),
                values: vec![Some(0.5), Some(1.0), Some(0.25), metric.values[3]],
            });
        }
        report.metrics[1].range = [0.0, 10.0];
        report
    }

    fn page(report: &CaptionReport<'_>) -> String {
        caption_page(report).unwrap().replace("&#x2f;", "/")
    }

    /// The part of the page that is text: neither style nor script, nor their digests.
    fn body(report: &CaptionReport<'_>) -> String {
        let html = page(report);
        let start = html.find("<body>").unwrap();
        let end = html.find("<script>").unwrap();
        html[start..end].to_owned()
    }

    /// The ids of the images of a list, in order.
    fn ids_of(html: &str, list: &str) -> Vec<String> {
        let Some(start) = html.find(&format!("<section class=\"images\" id=\"{list}\"")) else {
            return Vec::new();
        };
        let section = html[start..].split("</section>").next().unwrap();
        let ids = section.split("<bdi class=\"id\">").skip(1);
        ids.map(|rest| rest.split('<').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_small_page() {
        insta::assert_snapshot!(body(&small()));
    }

    #[test]
    fn a_page_with_a_baseline() {
        insta::assert_snapshot!(body(&full()));
    }

    #[test]
    fn the_same_data_give_the_same_bytes() {
        assert_eq!(
            caption_page(&full()).unwrap(),
            caption_page(&full()).unwrap()
        );
    }

    #[test]
    fn words_are_marked_and_missed_words_listed() {
        let html = body(&small());
        for marked in [
            "<span class=\"w n4\" title=\"4-gram “a man rides a” of reference 1\">man</span>",
            "<span class=\"w n3\" title=\"3-gram “a brown horse” of reference 2\">horse</span>",
            "<s class=\"w n0\" title=\"in no reference\">grass</s>",
            "<bdi>birds</bdi> <small>2/2</small>",
        ] {
            assert!(html.contains(marked), "{marked}");
        }
    }

    #[test]
    fn images_are_ranked_by_the_metric_asked_for() {
        let mut report = small();
        let html = body(&report);
        assert_eq!(ids_of(&html, "worst"), ["19", "17"], "by CIDEr-D");
        assert_eq!(ids_of(&html, "best"), ["20"]);
        assert!(html.contains("Not shown: 1 without a value."));
        report.ranked_by = Some("bleu-1");
        let html = body(&report);
        assert_eq!(ids_of(&html, "worst"), ["18", "19"]);
        assert_eq!(ids_of(&html, "best"), ["20", "17"]);
        report.metrics[0].higher_is_better = false;
        assert_eq!(ids_of(&body(&report), "worst"), ["20", "17"]);
        report.ranked_by = Some("spice");
        let error = caption_page(&report).unwrap_err().to_string();
        assert_eq!(
            error,
            "images cannot be ranked by `spice`, which is not among `bleu-1`, `cider-d`"
        );
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let mut report = small();
        report.ranked_by = Some("bleu-1");
        report.images_shown = 1;
        let html = body(&report);
        assert_eq!(html.matches("<li class=\"card\"").count(), 2);
        assert!(html.contains("show 2 of 4 images. Not shown: 2 in between."));
    }

    #[test]
    fn the_largest_differences_stand_side_by_side() {
        let html = body(&full());
        assert_eq!(ids_of(&html, "better"), ["17"]);
        assert_eq!(ids_of(&html, "worse"), ["19"]);
        assert!(html.contains("cider-d +0.7500") && html.contains("cider-d −0.2500"));
        assert!(html.contains(
            "better on 1 image, worse on 1 image, equal on 1 image, not comparable on 1 image"
        ));
        assert_eq!(html.matches("<h4>Baseline</h4>").count(), 2);
    }

    #[test]
    fn differences_are_bold_where_every_test_made_says_so() {
        let mut report = full();
        let undecided = |report: &CaptionReport<'_>| {
            let html = body(report);
            !html.contains("class=\"value best\"")
                && html.matches(">not shown to differ<").count() == 2
        };
        assert!(undecided(&report));
        let comparison = report.metrics[0].comparison.as_mut().unwrap();
        comparison.p_bootstrap_corrected = Some(0.01);
        assert!(undecided(&report), "one test is not enough");
        let comparison = report.metrics[0].comparison.as_mut().unwrap();
        comparison.p_randomisation_corrected = Some(0.049);
        let html = body(&report);
        assert_eq!(html.matches("class=\"value best\"").count(), 1);
        assert_eq!(html.matches("<span class=\"fine\">better<").count(), 1);
        report.metrics[0].higher_is_better = false;
        assert_eq!(
            body(&report).matches("<span class=\"fine\">worse<").count(),
            1
        );
        let comparison = report.metrics[0].comparison.as_mut().unwrap();
        comparison.p_bootstrap_corrected = None;
        let verdicts = |report: &CaptionReport<'_>, verdict: &str| {
            let verdict = format!("<span class=\"fine\">{verdict}<");
            body(report).matches(&verdict).count()
        };
        assert_eq!(
            verdicts(&report, "worse"),
            1,
            "too few images for the bootstrap"
        );
        let comparison = report.metrics[0].comparison.as_mut().unwrap();
        comparison.p_randomisation_corrected = None;
        assert_eq!(verdicts(&report, "not tested"), 1);
    }

    #[test]
    fn values_are_also_written_as_papers_print_them() {
        let mut report = full();
        report.metrics[1].value = Some(1.128);
        let html = body(&report);
        assert!(
            html.contains("<span class=\"value\">112.8</span>"),
            "CIDEr-D"
        );
        assert!(html.contains("1.13 as 113"));
        report.metrics.remove(1);
        report.metrics[0].range = [0.0, 100.0];
        let html = body(&report);
        assert!(!html.contains("papers") && !html.contains("CIDEr, which"));
    }

    #[test]
    fn images_and_metrics_without_values_are_said() {
        let mut report = small();
        report.metrics[0].values = vec![None, Some(f64::NAN), None, Some(f64::INFINITY)];
        report.metrics[0].value = None;
        report.ranked_by = Some("bleu-1");
        let html = body(&report);
        assert!(html.contains("4 images without a value"));
        assert_eq!(html.matches("<svg class=\"plot\"").count(), 1);
        assert_eq!(html.matches("<li class=\"card\"").count(), 0);
        assert!(html.contains("show 0 of 4 images. Not shown: 4 without a value."));

        let html = body(&super::tests::report(vec![], small().images));
        assert!(html.contains("No metric was computed."));
        let nothing = super::tests::report(vec![metric("bleu-1", &[])], vec![]);
        let html = body(&nothing);
        assert!(html.contains("no image has a value"));
        assert!(html.contains("Caption scores of 0 images."));
    }

    #[test]
    fn values_that_are_not_one_for_each_image_are_refused() {
        let mut report = full();
        report.metrics[0].values.pop();
        let error = caption_page(&report).unwrap_err().to_string();
        assert_eq!(error, "metric `bleu-1` has 3 values for 4 images");
        let mut report = full();
        report.metrics[1]
            .comparison
            .as_mut()
            .unwrap()
            .values
            .clear();
        let error = caption_page(&report).unwrap_err().to_string();
        assert_eq!(error, "metric `cider-d` has 0 values for 4 images");
    }

    #[test]
    fn what_foreign_text_says_is_shown_and_never_done() {
        const EVIL: &str = "</script><script>alert(1)</script></style><img src=x onerror=alert(1)>\"' onclick='x\u{202e}\0|&amp;";
        let command = [EVIL.to_owned()];
        let mut report = full();
        let plain = page(&report);
        report.title = EVIL;
        report.version = EVIL;
        report.command = &command;
        report.id_name = EVIL;
        report.references.path = EVIL;
        report.predictions.path = EVIL;
        report.baseline = Some(file(EVIL));
        report.intervals.as_mut().unwrap().method = EVIL;
        for metric in &mut report.metrics {
            metric.id = EVIL;
            metric.description = EVIL;
        }
        let evil = Caption {
            raw: EVIL,
            tokenized: EVIL,
        };
        for image in &mut report.images {
            image.id = EVIL;
            image.candidate = evil;
            image.baseline = Some(evil);
            image.references[0] = evil;
        }
        let html = page(&report);
        for tag in [
            "<script",
            "</script",
            "<style",
            "</style",
            "<img",
            "<svg class=\"defs",
        ] {
            assert_eq!(
                html.matches(tag).count(),
                plain.matches(tag).count(),
                "{tag}"
            );
        }
        assert!(
            html.contains("&lt;img src=x onerror=alert(1)&gt;"),
            "it is shown"
        );
        assert!(html.contains("&amp;amp;"), "and not read as an entity");
        assert!(html.contains("<i>U+202E</i><i>U+0000</i>"));
        assert!(!html.contains(['\u{202e}', '\0']));
        assert!(!html.contains("onclick='x"));
        // No attribute ends early: the quotation marks of each tag come in pairs.
        let body = &html[html.find("<body>").unwrap()..html.rfind("<script>").unwrap()];
        let tags = body.split('<').skip(1);
        let odd: Vec<&str> = tags
            .filter_map(|rest| rest.split('>').next())
            .filter(|tag| !tag.matches('"').count().is_multiple_of(2))
            .collect();
        assert_eq!(odd, Vec::<&str>::new());
    }

    #[test]
    fn huge_captions_do_not_make_a_huge_page() {
        let word = "x".repeat(1 << 20);
        let words = "word ".repeat(1 << 16);
        let marks = "\u{202e}\u{200b}".repeat(1 << 16);
        let texts = [word.as_str(), &words, &marks];
        let images = texts
            .iter()
            .map(|text| image(text, text, &[texts[0], texts[1], texts[2]].repeat(7)))
            .collect();
        let values = [Some(0.1), Some(0.2), Some(0.3)];
        let html = page(&report(vec![metric("bleu-1", &values)], images));
        assert!(html.len() < 2 << 20, "{} bytes", html.len());
        assert!(html.contains("… 1,047,576 more characters"));
        assert!(html.contains("… 65,336 more words"));
        assert!(html.contains("and 11 more"), "references");
    }

    #[test]
    fn the_page_loads_nothing_and_its_policy_says_so() {
        let html = page(&full());
        for foreign in [
            "http://",
            "https://",
            "//cdn",
            "@import",
            "src=",
            "<link",
            " style=",
            " onload",
            "<base",
            "innerHTML",
        ] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        assert_eq!(
            html.matches("url(").count(),
            html.matches("url(#hatch)").count()
        );
        let policy = html
            .split("Content-Security-Policy\" content=\"")
            .nth(1)
            .unwrap();
        let policy = policy.split('"').next().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
            let html = caption_page(&full()).unwrap();
            let text = html.split(&format!("<{tag}>")).nth(1).unwrap();
            let text = text.split(&format!("</{tag}>")).next().unwrap();
            let hash = BASE64_STANDARD.encode(Digest::of(text.as_bytes()).as_bytes());
            assert!(
                policy.contains(&format!("{directive} 'sha256-{hash}'")),
                "{policy}"
            );
        }
    }

    #[test]
    fn what_was_left_out_is_a_sentence() {
        let of = |missing, extra, failed| {
            let predictions = Unpaired {
                missing,
                extra,
                failed,
            };
            left_out(LeftOut {
                predictions,
                ..LeftOut::default()
            })
        };
        assert_eq!(of(0, 0, 0), None);
        assert_eq!(of(1, 0, 0).unwrap(), "1 image without a prediction");
        assert_eq!(
            of(3, 1, 2).unwrap(),
            "3 images without a prediction, 2 failed predictions and 1 prediction without references"
        );
        let all = LeftOut {
            without_references: 2,
            predictions: Unpaired::default(),
            baseline: Some(Unpaired {
                missing: 1,
                ..Unpaired::default()
            }),
        };
        assert_eq!(
            left_out(all).unwrap(),
            "2 images without a caption in the references; for the baseline 1 image without a prediction"
        );
    }
}
