//! Metrics of nltk 3.10.4 on captions as the tokenizer of the COCO caption tools leaves them: BLEU with
//! each of nltk's smoothing functions ([`SentenceBleu`], [`Smoothing`]), and METEOR without `WordNet`.
//!
//! Both differ from their namesakes: nltk's BLEU is 0 to 1 and smooths in eight ways, two of which can
//! pass 1; nltk's METEOR is the formula of 2007.

mod bleu;
mod meteor;

pub use bleu::{
    BLEU_METHOD0, BLEU_METHOD1, BLEU_METHOD2, BLEU_METHOD3, BLEU_METHOD4, BLEU_METHOD5,
    BLEU_METHOD6, BLEU_METHOD7, BleuMetric, BleuSums, SentenceBleu, Smoothing, Undefined,
};
pub use meteor::{METEOR_NO_WORDNET, MeteorMetric, meteor};
