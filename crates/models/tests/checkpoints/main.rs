//! Forms of checkpoints that can be read, what a person is told about those that cannot, and what models make of texts.

#![expect(clippy::unwrap_used, reason = "a broken fixture fails the test")]

mod clip;
mod clip_layouts;
mod flamingo;
mod frozen;
mod magic;
mod simvlm;
mod support;
mod virtex;
mod visualbert;
mod visualbert_ask;
mod visualgpt;
