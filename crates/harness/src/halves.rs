//! Batches that do not fit into a GPU's memory.

use std::fmt::Display;

/// What `f` makes of `items`, in their order. Where it fails because a device's memory is full, as `is_full` tells, it
/// is called with the first half and with the second, and so on down to single items.
pub(crate) fn in_halves<T, R, E: Display>(
    items: &[T],
    is_full: &impl Fn(&E) -> bool,
    f: &impl Fn(&[T]) -> Result<Vec<R>, E>,
) -> Result<Vec<R>, E> {
    match f(items) {
        Err(error) if items.len() > 1 && is_full(&error) => {
            let (first, second) = items.split_at(items.len() / 2);
            tracing::warn!(
                items = items.len(),
                now = first.len(),
                %error,
                "the device's memory is too small for the batch, which is halved: choose a smaller one"
            );
            let mut made = in_halves(first, is_full, f)?;
            made.extend(in_halves(second, is_full, f)?);
            Ok(made)
        }
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_batch_is_halved_until_it_fits_and_keeps_its_order() {
        let items: Vec<u32> = (0..11).collect();
        for room in 1..12 {
            let sizes = RefCell::new(Vec::new());
            let call = |items: &[u32]| {
                if items.len() > room {
                    return Err("full");
                }
                sizes.borrow_mut().push(items.len());
                Ok(items.to_vec())
            };
            let made = in_halves(&items, &|error| *error == "full", &call);
            assert_eq!(made.as_ref(), Ok(&items), "room for {room}");
            assert!(sizes.borrow().iter().all(|&size| size <= room));
        }
    }

    #[test]
    fn what_is_wrong_otherwise_is_not_tried_again() {
        let calls = RefCell::new(0);
        let call = |_: &[u32]| {
            *calls.borrow_mut() += 1;
            Err::<Vec<u32>, _>("broken")
        };
        let made = in_halves(&[1, 2], &|error| *error == "full", &call);
        assert_eq!((made, *calls.borrow()), (Err("broken"), 1));
        let made = in_halves(&[1], &|_| true, &call);
        assert_eq!((made, *calls.borrow()), (Err("broken"), 2));
    }
}
