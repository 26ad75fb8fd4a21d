//! `sightline preprocess`: exactly the tensors that a model would be fed.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use safetensors::tensor::{Dtype, TensorView};
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_imaging::Limits;
use sightline_preprocess::Preprocessor;
use sightline_store::write_atomic;

use crate::command::{exits, target};
use crate::exit::{Exit, Failure};
use crate::output::{note, print};

/// Arguments of `sightline preprocess`.
#[derive(Debug, Args)]
pub(crate) struct PreprocessArgs {
    /// Hugging Face `preprocessor_config.json`
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,

    /// Image files
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    images: Vec<PathBuf>,

    /// safetensors file for `pixel_values` [images, 3, height, width], float32, in the order given
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Overwrite a file that holds something else
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &PreprocessArgs) -> Result<Exit, Failure> {
    let preprocessor = preprocessor(args)?;
    let mut values: Vec<u8> = Vec::new();
    let mut broken = 0;
    for path in &args.images {
        let bytes = fs::read(path).map_err(|e| {
            Failure::io(format!("reading `{}`", path.display()), &e).with_exit(exits::io(&e))
        })?;
        match preprocessor.prepare(&bytes) {
            Ok(row) => values.extend(row.iter().flat_map(|value| value.to_le_bytes())),
            Err(error) => {
                broken += 1;
                let doing = format!("preparing `{}`", path.display());
                note(&Failure::new(Exit::No, doing, &error).to_string());
            }
        }
    }
    if broken > 0 {
        note(&format!(
            "{broken} of {} images are broken; nothing was written",
            args.images.len()
        ));
        return Ok(Exit::No);
    }

    let doing = || format!("writing `{}`", args.out.display());
    let size = preprocessor.spec().size;
    let shape = vec![
        args.images.len(),
        3,
        size.height as usize,
        size.width as usize,
    ];
    let text = format!("pixel_values {shape:?} float32 in {}", args.out.display());
    let file = TensorView::new(Dtype::F32, shape, &values)
        .and_then(|view| safetensors::serialize([("pixel_values", view)], None))
        .map_err(|e| Failure::io(doing(), &std::io::Error::other(e)))?;
    if target::is_to_be_written(&args.out, &file, args.force)? {
        write_atomic(&args.out, &file)
            .map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    }
    print(&text)?;
    Ok(Exit::Done)
}

fn preprocessor(args: &PreprocessArgs) -> Result<Preprocessor, Failure> {
    let doing = || format!("reading specification `{}`", args.spec.display());
    let text = fs::read_to_string(&args.spec)
        .map_err(|e| Failure::io(doing(), &e).with_exit(exits::io(&e)))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| Failure::usage(doing(), e.to_string()))?;
    let spec =
        from_hugging_face(&json).map_err(|error| Failure::new(Exit::Usage, doing(), &error))?;
    Preprocessor::new(spec, Limits::default())
        .map_err(|error| Failure::new(Exit::Usage, doing(), &error))
}
