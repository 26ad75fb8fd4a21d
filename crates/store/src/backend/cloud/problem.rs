//! What a store's answer means, in the words of a person who has to do something about it.
//!
//! Answers hold request addresses whose queries may be signatures, and S3 repeats what it was asked to sign: of an XML answer
//! only code and message are shown, and of addresses nothing behind the question mark.

use std::error::Error as _;

use object_store::Error;

use crate::error::RemoteProblem;

/// Longest words of a store that are repeated.
const MAX_WORDS: usize = 300;

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    NotFound,
    NoBucket,
    Denied,
    NoCredentials,
    Changed,
    Exists,
    Unsupported,
    NoRanges,
    /// The store answers that it cannot at the moment.
    Failing,
    /// Nothing answers, or not to the end.
    Unreachable,
    Other,
}

/// The kind of `error`.
pub(super) fn class(error: &Error) -> Class {
    let text = error.to_string();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    match error {
        Error::NotFound { .. }
            if has(&["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]) =>
        {
            Class::NoBucket
        }
        Error::NotFound { .. } if has(&["NoSuchUpload"]) => Class::NotFound,
        Error::NotFound { .. } => Class::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Class::Denied,
        Error::Precondition { .. } | Error::NotModified { .. } => Class::Changed,
        Error::AlreadyExists { .. } => Class::Exists,
        Error::NotSupported { .. } if has(&["Range request"]) => Class::NoRanges,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Class::Unsupported,
        Error::Generic { .. }
            if has(&[
                "169.254.169.254",
                "metadata.google.internal",
                "MissingCredentials",
                "No credentials",
            ]) =>
        {
            Class::NoCredentials
        }
        Error::Generic { .. }
            if has(&[
                "ExpiredToken",
                "InvalidToken",
                "InvalidAccessKeyId",
                "SignatureDoesNotMatch",
                "AuthorizationHeaderMalformed",
            ]) =>
        {
            Class::Denied
        }
        Error::Generic { .. }
            if has(&["non-partial response"]) || (has(&["Requested "]) && has(&[", got "])) =>
        {
            Class::NoRanges
        }
        Error::Generic { .. } if has(&["status code: 501", "NotImplemented"]) => Class::Unsupported,
        Error::Generic { .. }
            if has(&[
                "status code: 5",
                "status code: 429",
                "status code: 408",
                "RequestTimeout",
                "SlowDown",
                "InternalError",
            ]) =>
        {
            Class::Failing
        }
        // The region is wrong, or the address is.
        Error::Generic { .. }
            if has(&[
                "status code: ",
                "without LOCATION",
                "builder error",
                "UnsupportedScheme",
                "not allowed",
            ]) =>
        {
            Class::Other
        }
        Error::Generic { .. } => Class::Unreachable,
        _ => Class::Other,
    }
}

/// What is said of `error`.
pub(super) fn of(error: &Error) -> RemoteProblem {
    let words = || words(error);
    match class(error) {
        Class::NotFound => RemoteProblem::NotFound,
        Class::NoBucket => RemoteProblem::NoBucket,
        Class::Denied => RemoteProblem::Denied { words: words() },
        Class::NoCredentials => RemoteProblem::NoCredentials,
        Class::Changed => RemoteProblem::Changed,
        Class::Exists => RemoteProblem::Exists,
        Class::Unsupported => RemoteProblem::Unsupported { words: words() },
        Class::NoRanges => RemoteProblem::NoRanges,
        Class::Failing => RemoteProblem::Failing { words: words() },
        Class::Unreachable => RemoteProblem::Unreachable { words: words() },
        Class::Other => RemoteProblem::Other { words: words() },
    }
}

/// The store's own words.
fn words(error: &Error) -> String {
    let text = error.to_string();
    let between = |from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        Some(rest.split_once(to)?.0)
    };
    let words = if let Some(code) = between("<Code>", "</Code>") {
        match between("<Message>", "</Message>") {
            Some(message) => {
                let message = message.trim_start_matches("<![CDATA[");
                format!("{code}: {}", message.trim_end_matches("]]>"))
            }
            None => code.to_owned(),
        }
    } else if let Some((_, answer)) = text.split_once("status code: ") {
        answer.trim_end_matches([':', ' ']).to_owned()
    } else {
        innermost(error)
    };
    let line = words.lines().next().unwrap_or_default();
    without_queries(line).chars().take(MAX_WORDS).collect()
}

/// The cause of all causes, which says the most: what is around it names the request.
fn innermost(error: &Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = error.to_string();
        cause = error.source();
    }
    message
}

/// `text` with the queries of addresses cut off.
fn without_queries(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.find('?') {
        Some(at) if word.contains("://") => &word[..=at],
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Error {
        Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        }
    }

    #[test]
    fn secrets_in_answers_are_not_repeated() {
        let error = Error::PermissionDenied {
            path: "k".to_owned(),
            source: "Error performing PUT http://h/b/k?X-Amz-Signature=secret in 1ms - Server returned non-2xx status code: 403 Forbidden: \
                     <?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match.</Message>\
                     <StringToSign>secret</StringToSign></Error>".into(),
        };
        let said = of(&error).to_string();
        assert!(
            said.ends_with("SignatureDoesNotMatch: The signature does not match."),
            "{said}"
        );
        let error =
            generic("error sending request for url https://h/k?sig=secret (connection refused)");
        let said = of(&error).to_string();
        assert!(
            !said.contains("secret") && said.contains("https://h/k?"),
            "{said}"
        );
    }

    #[test]
    fn answers_are_told_apart() {
        for (text, expected) in [
            (
                "Server returned non-2xx status code: 500 Internal Server Error: ",
                Class::Failing,
            ),
            (
                "Server returned non-2xx status code: 400 Bad Request: <Code>RequestTimeout</Code>",
                Class::Failing,
            ),
            (
                "Server returned non-2xx status code: 400 Bad Request: <Code>ExpiredToken</Code>",
                Class::Denied,
            ),
            (
                "Server returned non-2xx status code: 301 Moved Permanently",
                Class::Other,
            ),
            (
                "error sending request for url (http://127.0.0.1:1/)",
                Class::Unreachable,
            ),
            (
                "Error performing PUT http://169.254.169.254/latest/api/token in 1s",
                Class::NoCredentials,
            ),
            (
                "Received non-partial response when range requested",
                Class::NoRanges,
            ),
            ("Requested 0..8388608, got 0..9000000", Class::NoRanges),
        ] {
            assert_eq!(class(&generic(text)), expected, "{text}");
        }
    }
}
