//! Object stores as the environment describes them, by the variables that the stores' own tools read.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sightline_store::{Location, Stores};

/// How the names of the variables begin that stores are told of.
const VARIABLES: [&str; 4] = ["AWS_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_HOST"];

/// Opens addresses of object stores; every part of the program shares its connections.
pub(crate) fn stores() -> Stores {
    static STORES: OnceLock<Stores> = OnceLock::new();
    STORES.get_or_init(|| Stores::new(options())).clone()
}

/// Local folder for what is on its way to or from a store: `TMPDIR`, else `/tmp`.
pub(crate) fn scratch() -> PathBuf {
    env::temp_dir()
}

/// A place as it is shown: addresses without their query, which may be a signature.
pub(crate) fn shown(place: &Path) -> String {
    match Location::of(place) {
        Ok(Location::Remote(address)) => address.to_string(),
        _ => place.display().to_string(),
    }
}

fn options() -> Vec<(String, String)> {
    let is_of_stores = |(name, value): &(String, String)| {
        !value.is_empty() && VARIABLES.iter().any(|prefix| name.starts_with(prefix))
    };
    let variables = env::vars_os();
    let variables = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut options: Vec<(String, String)> = variables.filter(is_of_stores).collect();
    let of = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let file = |variable: &str, name: &str| {
        let path = of(variable).map(PathBuf::from);
        let path = path.or_else(|| Some(Path::new(&of("HOME")?).join(".aws").join(name)));
        path.and_then(|path| fs::read_to_string(path).ok())
            .unwrap_or_default()
    };
    let has = |options: &[(String, String)], name: &str| options.iter().any(|(n, _)| n == name);
    let profile = of("AWS_PROFILE").and_then(|profile| profile.into_string().ok());
    let profile = profile.as_deref().unwrap_or("default");
    let is_known = ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"];
    if !is_known.iter().any(|name| has(&options, name)) {
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        options.extend(of_profile(&credentials, profile));
    }
    let section = match profile {
        "default" => profile.to_owned(),
        profile => format!("profile {profile}"),
    };
    let config = of_profile(&file("AWS_CONFIG_FILE", "config"), &section);
    for (name, value) in config {
        let is_given =
            has(&options, &name) || (name == "AWS_REGION" && has(&options, "AWS_DEFAULT_REGION"));
        if !is_given {
            options.push((name, value));
        }
    }
    options
}

/// What the section `profile` of one of Amazon's files says, under the names of the variables for the same.
fn of_profile(text: &str, profile: &str) -> Vec<(String, String)> {
    let mut is_here = false;
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            is_here = section.trim_end_matches(']').trim() == profile;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| is_here) else {
            continue;
        };
        let name = match name.trim() {
            "aws_access_key_id" => "AWS_ACCESS_KEY_ID",
            "aws_secret_access_key" => "AWS_SECRET_ACCESS_KEY",
            "aws_session_token" => "AWS_SESSION_TOKEN",
            "region" => "AWS_REGION",
            "endpoint_url" => "AWS_ENDPOINT_URL",
            _ => continue,
        };
        found.push((name.to_owned(), value.trim().to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_its_section_and_no_other() {
        let text = "# keys\n[default]\naws_access_key_id = a\n\n[other]\naws_access_key_id=b\n\
                    aws_secret_access_key = s=1\nregion = eu-north-1\nunknown = 1\n";
        let found = of_profile(text, "other");
        let expected = [
            ("AWS_ACCESS_KEY_ID", "b"),
            ("AWS_SECRET_ACCESS_KEY", "s=1"),
            ("AWS_REGION", "eu-north-1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(of_profile(text, "default").len(), 1);
        assert!(of_profile(text, "none").is_empty());
    }

    #[test]
    fn queries_are_not_shown() {
        assert_eq!(shown(Path::new("https://h/x?sig=1")), "https://h/x");
        assert_eq!(shown(Path::new("a?b")), "a?b");
    }
}
