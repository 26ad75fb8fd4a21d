//! The URL tables of a split: one row a scene, as CSV and as Parquet.
//!
//! Columns: `url`, `caption` (the main one), `captions` (a JSON array in CSV, a list of strings in
//! Parquet), `description` (the one in a fixed form), `class_label` (the line of `classes.txt`, from 0), `class_name`, `held_out`, `split`,
//! `scene_id`, `width`, `height`.

use polars::prelude::{
    Column, DataFrame, IntoColumn, NamedFrom, ParquetCompression, ParquetWriter, Series,
};

use crate::Error;
use crate::record::Record;
use crate::spec::ScenesSpec;
use crate::splits::Split;

const COLUMNS: [&str; 11] = [
    "url",
    "caption",
    "captions",
    "description",
    "class_label",
    "class_name",
    "held_out",
    "split",
    "scene_id",
    "width",
    "height",
];

/// The tables of a split: name below the folder and bytes.
pub(crate) fn tables(
    split: Split,
    records: &[Record],
    spec: &ScenesSpec,
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let name = |extension: &str| format!("urls/{}.{extension}", split.name());
    let (csv_name, parquet_name) = (name("csv"), name("parquet"));
    let csv = csv(records, spec).map_err(Error::table(&csv_name))?;
    let parquet = parquet(split, records, spec).map_err(Error::table(&parquet_name))?;
    Ok(vec![(csv_name, csv), (parquet_name, parquet)])
}

fn csv(records: &[Record], spec: &ScenesSpec) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for record in records {
        let captions = serde_json::to_string(&record.captions).map_err(std::io::Error::from)?;
        let class = record.class();
        writer.write_record([
            record.url(spec).as_str(),
            &record.captions[0],
            &captions,
            &record.description,
            &class.index().to_string(),
            &class.to_string(),
            if record.is_held_out() {
                "true"
            } else {
                "false"
            },
            record.split.name(),
            &record.scene_id().to_string(),
            &spec.size.to_string(),
            &spec.size.to_string(),
        ])?;
    }
    Ok(writer
        .into_inner()
        .map_err(csv::IntoInnerError::into_error)?)
}

fn parquet(
    split: Split,
    records: &[Record],
    spec: &ScenesSpec,
) -> Result<Vec<u8>, polars::error::PolarsError> {
    let texts = |name: &str, of: &dyn Fn(&Record) -> String| -> Column {
        let values: Vec<String> = records.iter().map(of).collect();
        Series::new(name.into(), values).into_column()
    };
    let numbers = |name: &str, of: &dyn Fn(&Record) -> i64| -> Column {
        let values: Vec<i64> = records.iter().map(of).collect();
        Series::new(name.into(), values).into_column()
    };
    let captions: Vec<Series> = records
        .iter()
        .map(|r| Series::new("".into(), &r.captions[..]))
        .collect();
    let held_out: Vec<bool> = records.iter().map(Record::is_held_out).collect();
    let side = i64::from(spec.size);
    let columns = vec![
        texts(COLUMNS[0], &|r| r.url(spec)),
        texts(COLUMNS[1], &|r| r.captions[0].clone()),
        Series::new(COLUMNS[2].into(), captions).into_column(),
        texts(COLUMNS[3], &|r| r.description.clone()),
        numbers(COLUMNS[4], &|r| r.class().index() as i64),
        texts(COLUMNS[5], &|r| r.class().to_string()),
        Series::new(COLUMNS[6].into(), held_out).into_column(),
        texts(COLUMNS[7], &|_| split.name().to_owned()),
        numbers(COLUMNS[8], &|r| r.scene_id() as i64),
        numbers(COLUMNS[9], &|_| side),
        numbers(COLUMNS[10], &|_| side),
    ];
    let mut table = DataFrame::new(records.len(), columns)?;
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Snappy)
        .finish(&mut table)?;
    Ok(bytes)
}
