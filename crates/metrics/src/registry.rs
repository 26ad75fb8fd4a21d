//! Every metric, by id.

use sightline_core::registry::UnknownName;

use crate::detection::{coco, lvis};
use crate::metric::DynMetric;
use crate::{
    accuracy, average_precision, bert_score, bleu, calibration, caption_exact, chair, cider,
    clip_score, exact_match, grounding, median_rank, meteor, nltk, pairs, perplexity, pope, recall,
    recall_per_class, reciprocal_rank, rouge, rouge_score, sacrebleu, spice_tuples, vqa,
    words_in_place,
};

/// Every metric, sorted by id. To add one, write its file and its line here; [`crate::conformance`]
/// then runs over it too.
pub static METRICS: &[&dyn DynMetric] = &[
    &accuracy::AT_1,
    &accuracy::AT_5,
    &bert_score::F1,
    &bert_score::PRECISION,
    &bert_score::RECALL,
    &perplexity::BITS_PER_BYTE,
    &bleu::BLEU_1,
    &bleu::BLEU_2,
    &bleu::BLEU_3,
    &bleu::BLEU_4,
    &calibration::BRIER,
    &caption_exact::CAPTION_EXACT,
    &chair::INSTANCES,
    &chair::SENTENCES,
    &cider::CIDER,
    &cider::CIDER_D,
    &clip_score::CLIP_SCORE,
    &coco::AP,
    &coco::AP_LARGE,
    &coco::AP_MEDIUM,
    &coco::AP_SMALL,
    &coco::AP_50,
    &coco::AP_75,
    &coco::AR_1,
    &coco::AR_10,
    &coco::AR_100,
    &coco::AR_LARGE,
    &coco::AR_MEDIUM,
    &coco::AR_SMALL,
    &calibration::ECE,
    &exact_match::EXACT_MATCH,
    &grounding::AT_1_ANY_BOX,
    &grounding::AT_1_MERGED_BOXES,
    &grounding::AT_10_ANY_BOX,
    &grounding::AT_10_MERGED_BOXES,
    &grounding::AT_5_ANY_BOX,
    &grounding::AT_5_MERGED_BOXES,
    &lvis::AP,
    &lvis::AP_COMMON,
    &lvis::AP_FREQUENT,
    &lvis::AP_LARGE,
    &lvis::AP_MEDIUM,
    &lvis::AP_RARE,
    &lvis::AP_SMALL,
    &lvis::AP_50,
    &lvis::AP_75,
    &lvis::AR_300,
    &lvis::AR_LARGE,
    &lvis::AR_MEDIUM,
    &lvis::AR_SMALL,
    &average_precision::MAP,
    &recall_per_class::MEAN,
    &median_rank::IMAGE_TO_TEXT,
    &median_rank::IMAGE_TO_TEXT_OPTIMISTIC,
    &median_rank::TEXT_TO_IMAGE,
    &median_rank::TEXT_TO_IMAGE_OPTIMISTIC,
    &meteor::METEOR,
    &meteor::LITE,
    &reciprocal_rank::IMAGE_TO_TEXT,
    &reciprocal_rank::IMAGE_TO_TEXT_OPTIMISTIC,
    &reciprocal_rank::TEXT_TO_IMAGE,
    &reciprocal_rank::TEXT_TO_IMAGE_OPTIMISTIC,
    &nltk::BLEU_METHOD0,
    &nltk::BLEU_METHOD1,
    &nltk::BLEU_METHOD2,
    &nltk::BLEU_METHOD3,
    &nltk::BLEU_METHOD4,
    &nltk::BLEU_METHOD5,
    &nltk::BLEU_METHOD6,
    &nltk::BLEU_METHOD7,
    &nltk::METEOR_NO_WORDNET,
    &pairs::NLVR2_ACCURACY,
    &pairs::NLVR2_CONSISTENCY,
    &vqa::OKVQA,
    &clip_score::PAC_S,
    &perplexity::PERPLEXITY,
    &grounding::POINTING,
    &pope::ACCURACY,
    &pope::F1,
    &pope::PRECISION,
    &pope::RECALL,
    &pope::YES_RATIO,
    &recall::AT_1_IMAGE_TO_TEXT,
    &recall::AT_1_IMAGE_TO_TEXT_OPTIMISTIC,
    &recall::AT_1_TEXT_TO_IMAGE,
    &recall::AT_1_TEXT_TO_IMAGE_OPTIMISTIC,
    &recall::AT_10_IMAGE_TO_TEXT,
    &recall::AT_10_IMAGE_TO_TEXT_OPTIMISTIC,
    &recall::AT_10_TEXT_TO_IMAGE,
    &recall::AT_10_TEXT_TO_IMAGE_OPTIMISTIC,
    &recall::AT_5_IMAGE_TO_TEXT,
    &recall::AT_5_IMAGE_TO_TEXT_OPTIMISTIC,
    &recall::AT_5_TEXT_TO_IMAGE,
    &recall::AT_5_TEXT_TO_IMAGE_OPTIMISTIC,
    &clip_score::REF_CLIP_SCORE,
    &clip_score::REF_CLIP_SCORE_CODE,
    &rouge::ROUGE_L,
    &rouge_score::ONE,
    &rouge_score::ONE_STEM,
    &rouge_score::TWO,
    &rouge_score::TWO_STEM,
    &rouge_score::L,
    &rouge_score::L_STEM,
    &rouge_score::LSUM,
    &rouge_score::LSUM_STEM,
    &sacrebleu::BLEU,
    &sacrebleu::CHRF,
    &sacrebleu::CHRF_PLUS_PLUS,
    &sacrebleu::TER,
    &spice_tuples::EXACT,
    &spice_tuples::STEMMED,
    &pairs::VCR_ANSWER,
    &pairs::VCR_BOTH,
    &pairs::VCR_RATIONALE,
    &average_precision::VOC07_MAP_11,
    &vqa::CLASSIFIER,
    &vqa::EVALAI,
    &vqa::OFFICIAL,
    &words_in_place::WORDS_IN_PLACE,
];

/// The metric with this id.
pub fn metric(id: &str) -> Result<&'static dyn DynMetric, UnknownName> {
    METRICS
        .iter()
        .find(|metric| metric.info().id == id)
        .copied()
        .ok_or_else(|| {
            UnknownName::among("metric", id, METRICS.iter().map(|metric| metric.info().id))
        })
}

#[cfg(test)]
mod tests {
    use crate::{CaptionItem, Input, Observations};

    use super::*;

    #[test]
    fn metrics_with_a_signature_say_it_with_items_and_without() {
        let mut observations = Observations::default();
        let item = CaptionItem::new("a dog", &["a dog", "the dog"]);
        observations.set(Input::Caption, vec![item]);
        for (id, settings) in [
            (
                "sacrebleu-bleu",
                "case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
            ),
            (
                "sacrebleu-chrf",
                "case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0",
            ),
            (
                "sacrebleu-chrf++",
                "case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0",
            ),
            (
                "sacrebleu-ter",
                "case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0",
            ),
        ] {
            let metric = metric(id).unwrap();
            assert_eq!(metric.signature(None).as_deref(), Some(settings));
            let over = metric.signature(Some(&observations));
            assert_eq!(over, Some(format!("nrefs:2|{settings}")));
        }
        assert_eq!(
            metric("bleu-4").unwrap().signature(Some(&observations)),
            None
        );
    }

    #[test]
    fn ids_are_sorted_unique_and_found() {
        let ids: Vec<&str> = METRICS.iter().map(|metric| metric.info().id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        for id in ids {
            assert_eq!(metric(id).unwrap().info().id, id);
        }
        let Err(error) = metric("recall@1.image-to-txt") else {
            panic!("an unknown metric was found");
        };
        assert_eq!(error.nearest[0], "recall@1.image-to-text");
    }
}
