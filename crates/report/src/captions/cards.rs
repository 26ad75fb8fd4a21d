//! The images that are shown, and each word of what was written about them.

use serde::Serialize;
use sightline_core::text::{count, counted, printable};

use super::data::{Caption, CaptionReport, Comparison, ImageRow, MetricColumn, value_of};
use super::numbers::{number, signed};
use super::overlap::{Word, missed, overlap};
use super::ranking::{differences, ends};
use super::text::{Piece, cut, pieces};

// What is longer is cut, so that no caption makes a page that no browser opens.
const CAPTION_CHARACTERS: usize = 1_000;
const WORDS: usize = 200;
const WORD_CHARACTERS: usize = 60;
const REFERENCES: usize = 10;
const MISSED: usize = 30;
const ID_CHARACTERS: usize = 200;

#[derive(Serialize)]
pub(super) struct ListView {
    id: &'static str,
    title: String,
    note: String,
    is_pair: bool,
    cards: Vec<CardView>,
}

#[derive(Serialize)]
struct CardView {
    rank: usize,
    id: Vec<Piece>,
    id_more: usize,
    key: String,
    /// A number for each metric, or nothing, with bars between.
    data: String,
    sides: Vec<SideView>,
    references: Vec<CaptionView>,
    more_references: usize,
}

/// What one of the models wrote.
#[derive(Serialize)]
struct SideView {
    role: &'static str,
    words: Vec<WordView>,
    more_words: Option<String>,
    caption: CaptionView,
    missed: Vec<MissedView>,
    more_missed: usize,
    values: Vec<(String, String)>,
}

/// A caption as it was written.
#[derive(Serialize)]
struct CaptionView {
    pieces: Vec<Piece>,
    more: Option<String>,
}

#[derive(Serialize)]
struct WordView {
    pieces: Vec<Piece>,
    /// Words of the longest n-gram that a reference has, 0 for none.
    length: usize,
    title: String,
}

#[derive(Serialize)]
struct MissedView {
    pieces: Vec<Piece>,
    n: usize,
    of: usize,
}

/// How the images were ranked, and how many there are in no list.
pub(super) fn ranking_note(report: &CaptionReport<'_>, metric: &MetricColumn<'_>) -> String {
    let found = ends(
        &cleaned(&metric.values),
        metric.higher_is_better,
        report.images_shown,
    );
    let shown = found.worst.len() + found.best.len();
    let mut hidden = Vec::new();
    if found.between > 0 {
        hidden.push(format!("{} in between", count(found.between as u64)));
    }
    if found.without > 0 {
        hidden.push(format!("{} without a value", count(found.without as u64)));
    }
    let mut note = format!(
        "Named by {}, ranked by {}. The worst and best lists show {} of {}.",
        printable(report.id_name),
        printable(metric.id),
        count(shown as u64),
        counted(report.images.len(), "image"),
    );
    if !hidden.is_empty() {
        note.push_str(" Not shown: ");
        note.push_str(&hidden.join(", "));
        note.push('.');
    }
    note
}

/// The lists of images, those without images left out.
pub(super) fn lists(report: &CaptionReport<'_>, metric: &MetricColumn<'_>) -> Vec<ListView> {
    let most = report.images_shown;
    let name = printable(metric.id);
    let found = ends(&cleaned(&metric.values), metric.higher_is_better, most);
    let value = |row: usize| value_of(&metric.values, row).map_or(String::new(), number);
    let card = |(at, &row): (usize, &usize)| {
        card_view(report, row, at + 1, format!("{name} {}", value(row)), false)
    };
    let mut lists = vec![
        ListView {
            id: "worst",
            title: "Worst images".to_owned(),
            note: format!("The worst by {name}, the worst first."),
            is_pair: false,
            cards: found.worst.iter().enumerate().map(card).collect(),
        },
        ListView {
            id: "best",
            title: "Best images".to_owned(),
            note: format!("The best by {name}, the best first."),
            is_pair: false,
            cards: found.best.iter().enumerate().map(card).collect(),
        },
    ];
    if let Some(comparison) = &metric.comparison {
        lists.extend(pair_lists(report, metric, comparison));
    }
    lists.retain(|list| !list.cards.is_empty());
    lists
}

/// The images on which the model and the baseline differ most.
fn pair_lists(
    report: &CaptionReport<'_>,
    metric: &MetricColumn<'_>,
    comparison: &Comparison,
) -> [ListView; 2] {
    let name = printable(metric.id);
    let deltas: Vec<Option<f64>> = (0..report.images.len())
        .map(|row| {
            let difference = value_of(&metric.values, row)? - value_of(&comparison.values, row)?;
            difference.is_finite().then_some(difference)
        })
        .collect();
    let found = differences(&deltas, metric.higher_is_better, report.images_shown);
    let [better, worse] = found.counts.map(|n| counted(n, "image"));
    let mut note = vec![
        format!("By {name} of each image alone, the predictions are better on {better}"),
        format!("worse on {worse}"),
        format!("equal on {}", counted(found.equal, "image")),
    ];
    if found.without > 0 {
        let without = counted(found.without, "image");
        note.push(format!("not comparable on {without} without a value"));
    }
    let note = format!("{}. The largest differences first.", note.join(", "));
    let list = |id, title: &str, rows: &[usize]| ListView {
        id,
        title: title.to_owned(),
        note: note.clone(),
        is_pair: true,
        cards: rows
            .iter()
            .enumerate()
            .map(|(at, &row)| {
                let difference = deltas[row].map_or(String::new(), signed);
                card_view(report, row, at + 1, format!("{name} {difference}"), true)
            })
            .collect(),
    };
    [
        list("better", "Better than the baseline", &found.better),
        list("worse", "Worse than the baseline", &found.worse),
    ]
}

/// Values without those that are no numbers.
fn cleaned(values: &[Option<f64>]) -> Vec<Option<f64>> {
    (0..values.len()).map(|row| value_of(values, row)).collect()
}

fn card_view(
    report: &CaptionReport<'_>,
    row: usize,
    rank: usize,
    key: String,
    is_pair: bool,
) -> CardView {
    let image = &report.images[row];
    let (id, id_more) = cut(image.id, ID_CHARACTERS);
    let own = report.metrics.iter().map(|m| (m, value_of(&m.values, row)));
    let mut sides = vec![side_view("Candidate", &image.candidate, image, own.clone())];
    if let Some(baseline) = image.baseline.as_ref().filter(|_| is_pair) {
        let values = report.metrics.iter().filter_map(|metric| {
            let comparison = metric.comparison.as_ref()?;
            Some((metric, value_of(&comparison.values, row)))
        });
        sides.push(side_view("Baseline", baseline, image, values));
    }
    let data: Vec<String> = own
        .map(|(_, value)| value.map_or(String::new(), |value| value.to_string()))
        .collect();
    CardView {
        rank,
        id: pieces(id),
        id_more,
        key,
        data: data.join("|"),
        sides,
        references: image
            .references
            .iter()
            .take(REFERENCES)
            .map(caption_view)
            .collect(),
        more_references: image.references.len().saturating_sub(REFERENCES),
    }
}

fn side_view<'m>(
    role: &'static str,
    caption: &Caption<'_>,
    image: &ImageRow<'_>,
    values: impl Iterator<Item = (&'m MetricColumn<'m>, Option<f64>)>,
) -> SideView {
    let references: Vec<&str> = image.references.iter().map(|r| r.tokenized).collect();
    let words = overlap(caption.tokenized, &references);
    let shown = shown_words(&words);
    let missed = missed(caption.tokenized, &references);
    SideView {
        role,
        words: (0..shown).map(|at| word_view(&words, at)).collect(),
        more_words: more(words.len() - shown, "more word"),
        caption: caption_view(caption),
        more_missed: missed.len().saturating_sub(MISSED),
        missed: missed
            .into_iter()
            .take(MISSED)
            .map(|(word, n)| MissedView {
                pieces: word_pieces(word),
                n,
                of: references.len(),
            })
            .collect(),
        values: values
            .map(|(metric, value)| {
                let value = value.map_or("none".to_owned(), number);
                (printable(metric.id), value)
            })
            .collect(),
    }
}

/// How many of `words` are shown.
fn shown_words(words: &[Word<'_>]) -> usize {
    let mut characters = 0;
    words
        .iter()
        .take(WORDS)
        .take_while(|word| {
            characters += word.text.chars().take(WORD_CHARACTERS).count();
            characters <= CAPTION_CHARACTERS
        })
        .count()
}

fn word_view(words: &[Word<'_>], at: usize) -> WordView {
    let word = words[at];
    let title = match word.shared {
        None => "in no reference".to_owned(),
        Some(shared) => {
            let ngram: Vec<String> = words[shared.start..shared.start + shared.length]
                .iter()
                .map(|word| printable(cut(word.text, WORD_CHARACTERS).0))
                .collect();
            format!(
                "{}-gram “{}” of reference {}",
                shared.length,
                ngram.join(" "),
                shared.reference + 1
            )
        }
    };
    WordView {
        pieces: word_pieces(word.text),
        length: word.shared.map_or(0, |shared| shared.length),
        title,
    }
}

fn word_pieces(word: &str) -> Vec<Piece> {
    let (shown, more) = cut(word, WORD_CHARACTERS);
    let mut shown = pieces(shown);
    if more > 0 {
        shown.push(Piece {
            text: "…".to_owned(),
            is_mark: false,
        });
    }
    shown
}

fn caption_view(caption: &Caption<'_>) -> CaptionView {
    let (shown, rest) = cut(caption.raw, CAPTION_CHARACTERS);
    CaptionView {
        pieces: pieces(shown),
        more: more(rest, "more character"),
    }
}

/// `12 more words`, or nothing.
fn more(n: usize, what: &str) -> Option<String> {
    (n > 0).then(|| counted(n, what))
}
