//! A column of the other table in memory, batch by batch, so that it never has to be moved to grow.

use polars::prelude::*;

use super::BATCH;

/// The values of a column.
#[derive(Debug)]
pub(super) struct Stored {
    name: PlSmallStr,
    /// Each of [`BATCH`] rows but for the last.
    batches: Vec<Batch>,
}

#[derive(Debug)]
enum Batch {
    /// The texts behind one another; the table engine would keep 16 bytes more for each of them, and what it read beside them.
    Texts {
        bytes: String,
        /// Where each ends, its lowest bit set for one that is null.
        ends: Vec<u64>,
    },
    Values(Series),
}

impl Stored {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            batches: Vec::new(),
        }
    }

    pub(super) fn append(&mut self, column: &Column) -> PolarsResult<()> {
        let series = column.as_materialized_series();
        self.batches.push(match series.dtype() {
            DataType::String => texts(series.str()?),
            _ => Batch::Values(series.rechunk()),
        });
        Ok(())
    }

    pub(super) fn len_bytes(&self) -> u64 {
        let len = |batch: &Batch| match batch {
            Batch::Texts { bytes, ends } => bytes.capacity() + 8 * ends.capacity(),
            Batch::Values(series) => series.estimated_size(),
        };
        self.batches.iter().map(len).sum::<usize>() as u64
    }

    /// The values at `places`, null for none.
    pub(super) fn take(&self, places: &[Option<u32>]) -> PolarsResult<Column> {
        let dtype = match self.batches.first() {
            Some(Batch::Values(series)) => series.dtype().clone(),
            Some(Batch::Texts { .. }) | None => DataType::String,
        };
        let values: PolarsResult<Vec<AnyValue>> = places
            .iter()
            .map(|place| place.map_or(Ok(AnyValue::Null), |place| self.value(place as usize)))
            .collect();
        Series::from_any_values_and_dtype(self.name.clone(), &values?, &dtype, false)
            .map(IntoColumn::into_column)
    }

    fn value(&self, row: usize) -> PolarsResult<AnyValue<'_>> {
        let at = row % BATCH;
        match &self.batches[row / BATCH] {
            Batch::Texts { bytes, ends } => {
                let begin = at.checked_sub(1).map_or(0, |before| ends[before] >> 1);
                let end = ends[at];
                Ok(if end & 1 == 1 {
                    AnyValue::Null
                } else {
                    AnyValue::String(&bytes[begin as usize..(end >> 1) as usize])
                })
            }
            Batch::Values(series) => series.get(at),
        }
    }
}

fn texts(column: &StringChunked) -> Batch {
    let len: usize = column.iter().flatten().map(str::len).sum();
    let mut bytes = String::with_capacity(len);
    let mut ends = Vec::with_capacity(column.len());
    for text in column.iter() {
        bytes.push_str(text.unwrap_or_default());
        ends.push((bytes.len() as u64) << 1 | u64::from(text.is_none()));
    }
    Batch::Texts { bytes, ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_from_any_batch_with_their_type() {
        let batch = |first: i64| -> Vec<i64> { (first..first + BATCH as i64).collect() };
        let mut numbers = Stored::new("n");
        let mut texts = Stored::new("t");
        for first in [0, BATCH as i64] {
            let numbered = Column::new("x".into(), batch(first));
            texts
                .append(&numbered.cast(&DataType::String).unwrap())
                .unwrap();
            numbers.append(&numbered).unwrap();
        }
        let rest = Column::new("x".into(), [None, Some("é"), Some("")]);
        texts.append(&rest).unwrap();
        let last = 2 * BATCH as u32;
        let places = [Some(0), None, Some(BATCH as u32 + 1)];
        let taken = numbers.take(&places).unwrap();
        let expected = Column::new("n".into(), [Some(0), None, Some(BATCH as i64 + 1)]);
        assert!(taken.equals_missing(&expected) && taken.dtype() == &DataType::Int64);
        let taken = texts
            .take(&[Some(10), None, Some(last), Some(last + 1), Some(last + 2)])
            .unwrap();
        let expected = Column::new("t".into(), [Some("10"), None, None, Some("é"), Some("")]);
        assert!(taken.equals_missing(&expected));
        let digits: usize = (0..2 * BATCH).map(|n| n.to_string().len()).sum();
        assert_eq!(texts.len_bytes(), (digits + 2 + 8 * (2 * BATCH + 3)) as u64);
    }

    #[test]
    fn a_table_without_rows_has_texts_of_nothing() {
        let none = Stored::new("n").take(&[None, None]).unwrap();
        assert_eq!((none.len(), none.null_count()), (2, 2));
        assert_eq!(none.dtype(), &DataType::String);
    }
}
