//! Images that a card prepares for the model on it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::iter;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use sightline_core::Progress;
use sightline_harness::direct::OnCard;

use super::{EmbedArgs, Images, Rows, failed};
use crate::command::inputs::{Broken, Input, Inputs};
use crate::exit::Failure;
use crate::output::Bar;

/// Batches that wait for the card, beside the one being read.
const AHEAD: usize = 1;

pub(super) fn embed_images(
    args: &EmbedArgs,
    card: &OnCard<'_>,
    rows: &mut Rows<'_>,
    bar: &Bar,
) -> Result<Images, Failure> {
    let (inputs, size) = (Inputs::new(&args.images)?, args.batch_size.get());
    // Batches are asked for and handed on by this thread, so that both sides may note what goes by.
    let (names, unread) = (RefCell::new(VecDeque::new()), RefCell::new(None));
    let (mut broken, mut unwritten) = (Vec::new(), None);
    let prepared = thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(AHEAD);
        scope.spawn(move || read(inputs, size, &sender));
        let batches = receiver.into_iter().map_while(|batch| match batch {
            Ok(batch) => {
                let files = batch.into_iter().map(|input| {
                    names.borrow_mut().push_back(input.name);
                    input.bytes
                });
                Some(files.collect::<Vec<_>>())
            }
            Err(error) => {
                *unread.borrow_mut() = Some(error);
                None
            }
        });
        card.embed(batches, |vectors| {
            for vector in vectors {
                let name = names.borrow_mut().pop_front().unwrap_or_default();
                match vector {
                    Ok(vector) => {
                        if let Err(error) = rows.push(&name, &vector) {
                            unwritten = Some(error);
                            return false;
                        }
                        bar.advance(1);
                    }
                    Err(error) => broken.push(Broken::tell(name, &error)),
                }
            }
            true
        })
    });
    if let Some(error) = unwritten.or_else(|| unread.take()) {
        return Err(error);
    }
    let prepared = prepared.map_err(|error| failed(&error))?;
    Ok(Images {
        broken,
        waiting: prepared.waiting,
        decoded: prepared.decoded,
    })
}

/// Reads batches of `size` until the end, an error, or nobody receives.
fn read(mut inputs: Inputs, size: usize, batches: &SyncSender<Result<Vec<Input>, Failure>>) {
    let next = || {
        let batch: Result<Vec<_>, _> = inputs.by_ref().take(size).collect();
        let is_end = matches!(&batch, Ok(batch) if batch.is_empty());
        (!is_end).then_some(batch)
    };
    for batch in iter::from_fn(next) {
        let is_last = batch.is_err();
        if batches.send(batch).is_err() || is_last {
            return;
        }
    }
}
