//! Which exit code an error of each library means: whose turn it is to do something.
//!
//! A folder or file that another process is writing ends every command with the same code, that of the
//! environment: the arguments are right, and the same command succeeds once the other process has ended.

use std::io;

use crate::exit::Exit;

/// A file that is not there was named by the person; everything else is the system's answer.
pub(crate) fn io(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::NotFound => Exit::Usage,
        _ => Exit::Environment,
    }
}

pub(crate) fn fetch(error: &sightline_fetch::Error) -> Exit {
    if error.is_usage() {
        Exit::Usage
    } else {
        Exit::Environment
    }
}

pub(crate) fn harness(error: &sightline_harness::Error) -> Exit {
    use sightline_harness::Error;
    match error {
        Error::Io { source, .. } => io(source),
        Error::Captions { source, .. } => captions(source),
        Error::Store { source } => store(source),
        Error::Report { source } => report(source),
        Error::Outside { source, .. } if source.is_environment() => Exit::Environment,
        Error::NoPart { .. } | Error::NoParts { .. } => Exit::Incomplete,
        Error::Forward { .. } | Error::Output { .. } | Error::Card { .. } | Error::InUse { .. } => {
            Exit::Environment
        }
        _ => Exit::Usage,
    }
}

pub(crate) fn captions(error: &sightline_harness::captions::CaptionError) -> Exit {
    match error {
        sightline_harness::captions::CaptionError::Read(source) => io(source),
        _ => Exit::Usage,
    }
}

pub(crate) fn manifest(error: &sightline_manifest::Error) -> Exit {
    match error {
        sightline_manifest::Error::Io { source, .. } => io(source),
        _ => Exit::Usage,
    }
}

pub(crate) fn direct(error: &sightline_harness::direct::DirectError) -> Exit {
    use sightline_harness::direct::DirectError;
    match error {
        DirectError::Model(error) => models(error),
        DirectError::Regions(error) => regions(error),
        DirectError::Tensor(_) | DirectError::Card(_) => Exit::Environment,
        _ => Exit::Usage,
    }
}

pub(crate) fn models(error: &sightline_models::Error) -> Exit {
    match error {
        sightline_models::Error::Read { source, .. } => io(source),
        sightline_models::Error::Nn(error) => nn(error),
        sightline_models::Error::Tensor(_) => Exit::Environment,
        _ => Exit::Usage,
    }
}

/// What is wrong with the files is their giver's to mend; a disk is not.
pub(crate) fn regions(error: &sightline_preprocess::regions::RegionsError) -> Exit {
    use sightline_preprocess::regions::{Problem, RegionsError};
    match error {
        RegionsError::Write(_) | RegionsError::Tensor(_) => Exit::Environment,
        RegionsError::File { problem, .. } => match &**problem {
            Problem::Io(error) => io(error),
            _ => Exit::No,
        },
        _ => Exit::Usage,
    }
}

pub(crate) fn dataset(error: &sightline_dataset::Error) -> Exit {
    use sightline_dataset::Error;
    match error {
        Error::Shard(sightline_shard::Error::Io { source, .. }) => io(source),
        Error::Store(error) => store(error),
        Error::Io { .. }
        | Error::Busy { .. }
        | Error::Changed { .. }
        | Error::OtherCount { .. }
        | Error::Space { .. } => Exit::Environment,
        Error::Shard(
            sightline_shard::Error::Damaged { .. }
            | sightline_shard::Error::DuplicateKey { .. }
            | sightline_shard::Error::FileAndFolder { .. },
        )
        | Error::DuplicateKey { .. } => Exit::No,
        _ => Exit::Usage,
    }
}

pub(crate) fn nn(error: &sightline_nn::Error) -> Exit {
    match error {
        sightline_nn::Error::Read { source, .. } => io(source),
        sightline_nn::Error::Write { .. }
        | sightline_nn::Error::Device { .. }
        | sightline_nn::Error::Tensor(_) => Exit::Environment,
        _ => Exit::Usage,
    }
}

/// What is wrong with settings and data is their giver's to mend; numbers that are none are the answer.
pub(crate) fn train(error: &sightline_train::Error) -> Exit {
    use sightline_train::Error;
    match error {
        Error::Data(error) => dataset(error),
        Error::Store(error) => store(error),
        Error::Synth(error) => synth(error),
        Error::Model(error) => models(error),
        Error::Nn(error) => nn(error),
        Error::Report(error) => report(error),
        Error::Io { source, .. } => io(source),
        Error::Tensor(_) | Error::Busy { .. } | Error::NoSpace { .. } | Error::Loader => {
            Exit::Environment
        }
        error if error.is_no() => Exit::No,
        _ => Exit::Usage,
    }
}

pub(crate) fn report(error: &sightline_report::Error) -> Exit {
    match error {
        sightline_report::Error::Io { source, .. } => io(source),
        sightline_report::Error::Unwritable { .. } => Exit::Environment,
        sightline_report::Error::Changed { .. } => Exit::No,
        _ => Exit::Usage,
    }
}

pub(crate) fn store(error: &sightline_store::Error) -> Exit {
    match error {
        sightline_store::Error::File { source, .. } => io(source),
        // An object that is not there was named by the person; a bucket that is not is more than that.
        error if error.is_usage() => Exit::Usage,
        _ => Exit::Environment,
    }
}

pub(crate) fn synth(error: &sightline_synth::Error) -> Exit {
    use sightline_synth::Error;
    match error {
        Error::Store(error) => store(error),
        Error::File { .. } => Exit::Environment,
        Error::Damaged { .. } => Exit::No,
        _ => Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_writes_is_the_environment_for_every_command() {
        let path = || std::path::PathBuf::from("out");
        let busy = sightline_fetch::Error::Busy { path: path() };
        let in_use = sightline_harness::Error::InUse { path: path() };
        assert_eq!(fetch(&busy), Exit::Environment);
        assert_eq!(harness(&in_use), Exit::Environment);
    }
}
