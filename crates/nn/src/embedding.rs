//! Rows of a table, looked up by token id.

use candle_core::Tensor;

use crate::{Error, Result, Weights};

/// A table of vectors.
#[derive(Clone, Debug)]
pub struct Embedding {
    table: Tensor,
    rows: usize,
}

impl Embedding {
    /// Reads `weight` `[rows, width]`.
    pub fn load(weights: &Weights, rows: usize, width: usize) -> Result<Self> {
        Ok(Self {
            table: weights.tensor("weight", &[rows, width])?,
            rows,
        })
    }

    /// The vectors of `ids`, which MUST all have the same length `T` and lie below the number of rows; returns
    /// `[B, T, width]`.
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<Tensor> {
        self.look_up("a row of token ids", ids, |id, rows| Error::TokenId {
            id,
            vocabulary_size: rows,
        })
    }

    /// As [`Self::forward`] in a table of something else than tokens; `what` names one of them in errors.
    pub fn rows(&self, what: &'static str, indices: &[Vec<u32>]) -> Result<Tensor> {
        self.look_up(what, indices, |index, rows| Error::Index {
            what,
            index,
            rows,
        })
    }

    fn look_up(
        &self,
        what: &'static str,
        ids: &[Vec<u32>],
        outside: impl FnOnce(u32, usize) -> Error,
    ) -> Result<Tensor> {
        let len = ids.first().map_or(0, Vec::len);
        if let Some(odd) = ids.iter().find(|row| row.len() != len) {
            return Err(Error::Shape {
                what,
                found: vec![odd.len()],
                wanted: format!("[{len}], as the first"),
            });
        }
        let flat = ids.concat();
        if let Some(&id) = flat.iter().find(|&&id| id as usize >= self.rows) {
            return Err(outside(id, self.rows));
        }
        let index = Tensor::from_vec(flat, ids.len() * len, self.table.device())?;
        let vectors = self.table.index_select(&index, 0)?;
        Ok(vectors.reshape((ids.len(), len, ()))?)
    }

    /// The first `len` rows, for tables that are read by position; `[len, width]`.
    pub fn first(&self, len: usize) -> Result<Tensor> {
        if len > self.rows {
            return Err(Error::Length {
                len,
                limit: self.rows,
            });
        }
        Ok(self.table.narrow(0, 0, len)?)
    }

    /// The whole table `[rows, width]`.
    pub fn table(&self) -> &Tensor {
        &self.table
    }

    /// The same lookups in another table `[rows, width]`.
    pub fn from_table(table: Tensor) -> Result<Self> {
        let (rows, _) = table.dims2()?;
        Ok(Self { table, rows })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn table() -> Embedding {
        let rows = [[0f32, 1.0], [2.0, 3.0], [4.0, 5.0]];
        Embedding::from_table(Tensor::new(&rows, &Device::Cpu).unwrap()).unwrap()
    }

    #[test]
    fn rows_are_looked_up() {
        let vectors = table().forward(&[vec![2, 0], vec![1, 1]]).unwrap();
        assert_eq!(
            vectors.to_vec3::<f32>().unwrap(),
            [[[4.0, 5.0], [0.0, 1.0]], [[2.0, 3.0], [2.0, 3.0]]]
        );
    }

    #[test]
    fn an_id_outside_is_named() {
        let error = table().forward(&[vec![0], vec![3]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "token id 3 is outside the vocabulary of 3"
        );
        let error = table().first(4).unwrap_err();
        assert_eq!(error.to_string(), "sequence of 4 tokens, the limit is 3");
        assert!(table().forward(&[vec![0, 1], vec![0]]).is_err());
        let error = table().rows("position", &[vec![7]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "position 7 is outside the table of 3 rows"
        );
    }
}
