//! One position of each of several sequences.

use candle_core::Tensor;

use crate::{Error, Result};

/// The vectors of `x` `[B, T, width]` at a place of each sequence, `places` `[B]`; returns `[B, width]`.
pub fn at_places(x: &Tensor, places: &[usize]) -> Result<Tensor> {
    let (batch, len, _) = x.dims3()?;
    if places.len() != batch || places.iter().any(|&place| place >= len) {
        return Err(Error::Shape {
            what: "the list of places",
            found: places.to_vec(),
            wanted: format!("{batch} numbers below {len}"),
        });
    }
    let rows = places.iter().enumerate();
    let rows: Vec<u32> = rows
        .map(|(item, place)| (item * len + place) as u32)
        .collect();
    let rows = Tensor::from_vec(rows, batch, x.device())?;
    Ok(x.flatten(0, 1)?.index_select(&rows, 0)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn each_sequence_has_a_place_of_its_own() {
        let x = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap();
        let x = x.reshape((2, 3, 2)).unwrap();
        let found = at_places(&x, &[2, 0]).unwrap();
        assert_eq!(found.to_vec2::<f32>().unwrap(), [[4.0, 5.0], [6.0, 7.0]]);
        for places in [&[0][..], &[0, 3], &[0, 0, 0]] {
            assert!(at_places(&x, places).is_err());
        }
    }
}
