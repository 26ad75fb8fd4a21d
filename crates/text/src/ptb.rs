//! Caption words as the COCO caption tools cut them: the Penn Treebank tokenizer of Stanford CoreNLP
//! 3.4.1 with `-preserveLines -lowerCase`, then punctuation dropped.
//!
//! BLEU, ROUGE-L, CIDEr and METEOR of published papers are computed on these words, and another
//! tokenizer moves them by up to a third. The reference program is a Java one; this is the same
//! behaviour rebuilt from its outputs: from probing it as a black box with some tens of millions of
//! strings, and from the golden files. Its rules, quirks included, are rules here.
//!
//! | text | tokens |
//! | --- | --- |
//! | `A dog isn't on John's mat.` | `a dog is n't on john 's mat .` |
//! | `cannot gonna gimme 'tis` | `can not gon na gim me 't is` |
//! | `the "red" (and 'blue') car` | ```the `` red '' -lrb- and ` blue ' -rrb- car``` |
//! | `$5, 5%, 1,000 and ½ at 10:30am` | `$ 5 , 5 % , 1,000 and 1/2 at 10:30 am` |
//! | `St. Louis, e.g. at 5 p.m. The end` | `st. louis , e.g. at 5 p.m. . the end` |
//! | `a 3-year-old -- and/or a t-shirt…` | `a 3-year-old -- and/or a t-shirt ...` |
//! | `AT&amp;T <unk> :-) 😀` | `at&t <unk> :--rrb-` |
//!
//! Three things may surprise. The tokenizer lower-cases its bracket names, so `-lrb-` and the like are
//! not in the list of dropped tokens and count as words. A token may hold a no-break space, as in
//! `3 1/2` and `(555) 123-4567`, which Python's `str.split()` would divide. And
//! characters the tokenizer does not know, emoji among them, leave no trace.
//!
//! # Where this differs from the reference
//!
//! - The reference reads all captions of an evaluation as one file, and an abbreviation at the end of
//!   a caption looks at the next caption: `by some art.` keeps its period if the next caption starts
//!   with a digit. [`tokenize`] takes a line as if it were alone; [`tokenize_before`] is given the
//!   lines that follow and agrees with the file.
//! - CR, VT, FF, U+2028 and U+2029 inside a caption break the reference's line, which shifts every later
//!   caption; here they are spaces.
//! - A tag whose quoted value or whose `<!` does not end on its line is not looked for on the next
//!   ones, and one with more than 1,024 bytes of attributes is not a tag.

mod abbreviation;
mod address;
mod apostrophe;
mod class;
mod form;
mod markup;
mod number;
mod quote;
mod scan;
mod symbol;
mod unicode;
mod word;

use std::borrow::Cow;

use scan::Scanner;

/// The tokens of one line, in lower case, with punctuation.
///
/// A token is never empty and holds no white space except U+00A0. Takes time linear in the length of
/// `line`, whatever it holds.
///
/// ```
/// use sightline_text::ptb;
///
/// assert_eq!(ptb::tokenize("Isn't it?"), ["is", "n't", "it", "?"]);
/// ```
pub fn tokenize(line: &str) -> Vec<String> {
    tokenize_before(line, "")
}

/// As [`tokenize`], for a line that `following` comes after: the text after the line break, of any
/// number of lines.
///
/// Only a period at the end of `line` can depend on `following`, and only if it ends an abbreviation,
/// an initial or an acronym.
///
/// ```
/// use sightline_text::ptb;
///
/// assert_eq!(ptb::tokenize("a flat T.V."), ["a", "flat", "t.v."]);
/// assert_eq!(ptb::tokenize_before("a flat T.V.", "A dog"), ["a", "flat", "t.v.", "."]);
/// ```
pub fn tokenize_before(line: &str, following: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let line = one_line(line);
    Scanner::new(&line, following).run(&mut |token| tokens.push(token.to_owned()));
    tokens
}

/// The words of a caption that metrics compare: its tokens less those that [`is_dropped`] names, joined
/// with one space.
///
/// ```
/// use sightline_text::ptb;
///
/// assert_eq!(ptb::caption("A man, a \"plan\":\nthe canal!"), "a man a plan the canal");
/// ```
pub fn caption(text: &str) -> String {
    let line = one_line(text);
    let mut words = String::with_capacity(line.len() + 8);
    let mut is_last_kept = false;
    Scanner::new(&line, "").run(&mut |token| {
        is_last_kept = !is_dropped(token);
        if is_last_kept {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(token);
        }
    });
    // The reference strips the line of tokens, and an address may end with white space of another kind.
    if is_last_kept {
        words.truncate(words.trim_end().len());
    }
    words
}

/// Whether a token is punctuation that the caption tools drop. The comparison is exact: `-LRB-` is
/// dropped, `-lrb-` is not.
pub fn is_dropped(token: &str) -> bool {
    matches!(
        token,
        "''" | "'"
            | "``"
            | "`"
            | "-LRB-"
            | "-RRB-"
            | "-LCB-"
            | "-RCB-"
            | "."
            | "?"
            | "!"
            | ","
            | ":"
            | "-"
            | "--"
            | "..."
            | ";"
    )
}

/// The text with a space for each character that would end the line.
fn one_line(text: &str) -> Cow<'_, str> {
    const BREAKS: [char; 6] = ['\n', '\r', '\x0B', '\x0C', '\u{2028}', '\u{2029}'];
    let has_breaks = text
        .bytes()
        .any(|byte| matches!(byte, b'\n'..=b'\r') || byte == 0xE2);
    if has_breaks && text.contains(BREAKS) {
        Cow::Owned(text.replace(BREAKS, " "))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// Checks lines `text => tokens`, the tokens joined with one space, with `_` for U+00A0.
    #[track_caller]
    fn check(table: &str) {
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (text, expected) = line.split_once(" => ").unwrap();
            let tokens = tokenize(text).join(" ").replace('\u{A0}', "_");
            assert_eq!(tokens, expected, "{text}");
        }
    }

    #[test]
    fn the_table_of_the_documentation_holds() {
        let rows = include_str!("ptb.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `"))
            .filter_map(|line| line.strip_suffix(" |")?.split_once("` | "));
        let mut count = 0;
        for (text, tokens) in rows {
            let fence = tokens.len() - tokens.trim_start_matches('`').len();
            let expected = &tokens[fence..tokens.len() - fence];
            assert_eq!(tokenize(text).join(" "), expected, "{text}");
            count += 1;
        }
        assert_eq!(count, 7);
    }

    #[test]
    fn contractions_are_two_tokens() {
        check(
            "
            isn't don't DON'T => is n't do n't do n't
            isn’t it’s don‘t => is n't it 's do n`t
            can't won't ain't couldn't've => ca n't wo n't ai n't could n't 've
            cannot Gonna gotta WANNA lemme gimme => can not gon na got ta wan na lem me gim me
            cannot's gonna-be wannabe => cannot 's gonna-be wannabe
            more'n a 'tis 'Twas 'twere => more 'n a 't is 't was ` twere
            d'ye o'clock dont O'Neil L'Oreal => d'ye o'clock dont o'neil l'oreal
            ma'am y'all li'l ol' c'mon ev'ry => ma'am y' all li'l ol' c'mon ev'ry
            rock'n'roll rock 'n' roll => rock 'n' roll rock 'n' roll
            dog's dogs' 1990's '90s '95 '95s => dog 's dogs ' 1990 's '90s '95 ' 95s
            dog&apos;s isn&apos;t => dog 's is n't
            'em 'til 'cause => 'em 'til 'cause
            nn't dog'sx y'do => nn ' t dog ` sx y ` do
            ",
        );
    }

    #[test]
    fn quotes_open_and_close_by_what_follows() {
        check(
            r#"
            "a" => `` a ''
            "(a)" => '' -lrb- a -rrb- ''
            "$5" => `` $ 5 ''
            a"b"c => a `` b `` c
            'a' 'ab' 'a b' => ` a ' ` ab ' ' a b '
            “a” ‘a’ «a» ‹a› „a“ => `` a '' ` a ' `` a '' ` a ' „ a ``
            “‘a’” => ``` a '''
            ''a'' ``a'' ''' => '' a '' `` a '' '' '
            &quot;a&quot; &QUOT; => `` a '' &quot;
            6'2" => 6 ' 2 ''
            "#,
        );
    }

    #[test]
    fn words_are_joined_by_some_marks() {
        check(
            "
            3-year-old a--b a- -a => 3-year-old a -- b a - - a
            anti- pro- ex- non‐x anti-., => anti- pro- ex - non‐x anti- . ,
            a_b a_ __ a__b => a_b a _ __ a __ b
            and/or a/b/c a/b/c/d w/ w/o => and/or a/b/c a/b/c / d w / w/o
            red-and-white/blue a-b-c-d/e => red-and-white/blue a-b-c-d / e
            end.The file.name 5.a ab.5 => end.the file.name 5 . a ab .5
            P!nk Yahoo!s a!5 a?b => p!nk yahoo!s a ! 5 a?b
            AT&T at&t A+B C++ C# F# => at&t at & t a+b c++ c# f#
            U.S.-led non-U.S. ex-U.S. shirts,t-shirt => u.s.-led non-u.s. ex-u.s. shirts,t-shirt
            a.b, dog., dog.; dog. => a.b , dog. , dog. ; dog .
            US$5 us$5 Ke$ha KE$HA => us$ 5 us $ 5 ke $ ha ke$ ha
            a\u{AD}b \u{AD} => ab -
            ",
        );
    }

    #[test]
    fn abbreviations_keep_their_period() {
        check(
            "
            Mr. Smith vs. Dr. Jones => mr. smith vs. dr. jones
            approx. lb. vol. => approx . lb . vol .
            etc. and etc., etc. The => etc. and etc. , etc. . the
            etc. => etc. .
            Inc. Bob Jr. 5 Ave. The => inc. . bob jr. 5 ave. the
            Mass. a mass. a Tex. a tex. => mass. a mass . a tex. a tex .
            No. 5 No.5 No. five no. => no. 5 no. 5 no . five no .
            Co. Ltd Co. Bob => co. ltd co. . bob
            assoc. Bob Pty. Bob PTY. a mfg. MFG. => assoc. bob pty. . bob pty . a mfg. mfg .
            Ph.D. a Ph.D. => ph.d. a ph.d. .
            a.m. or p.m. The => a.m. or p.m. . the
            U.S. Army U.S. It => u.s. army u.s. . it
            J. Smith J. A => j. smith j . a
            A. B. => a. b.
            ",
        );
    }

    #[test]
    fn the_next_line_settles_a_last_period() {
        let tokens = |line, following| tokenize_before(line, following).join(" ");
        assert_eq!(tokens("in KY.", ""), "in ky. .");
        assert_eq!(tokens("in KY.", "a dog"), "in ky.");
        assert_eq!(tokens("in KY.", "Bob\n"), "in ky. .");
        assert_eq!(tokens("reads K.", "a stop"), "reads k.");
        assert_eq!(tokens("reads K.", "\n A stop"), "reads k .");
        assert_eq!(tokens("some art.", "5 dogs"), "some art.");
        assert_eq!(tokens("some art.", "five dogs"), "some art .");
    }

    #[test]
    fn numbers_are_one_token() {
        check(
            "
            1,000 3.5 .5 -5 +5 10:30 16:9 => 1,000 3.5 .5 -5 +5 10:30 16:9
            10:30am 10th 5kg 5.5a 10,000men => 10:30 am 10th 5kg 5.5 a 10,000 men
            12/25/2014 12-25-14 5-6 1/2 => 12/25/2014 12-25-14 5-6 1/2
            3½ ½ 3 1/2 3-1/2 1⁄2 => 3 1/2 1/2 3_1/2 3-1/2 1⁄2
            $5 5% €5 £5 ¥5 5¢ => $ 5 5 % $ 5 # 5 ¥ 5 5 cents
            (555) 123-4567 => -lrb-555-rrb-_123-4567
            (5555) 123-4567 => -lrb- 5555 -rrb- 123-4567
            555 123 4567 => 555_123_4567
            +1 555 123 4567 => +1 555_123_4567
            75°F m² x²³ 10⁻¹ => 75 ° f m ² x ²³ 10 ⁻¹
            1/2/3/4 a 1/2-3 => 1/2/3 / 4 a 1/2 -3
            5.jpg 5.com => 5.jpg 5 . com
            ",
        );
    }

    #[test]
    fn symbols_and_faces() {
        check(
            r"
            ( ) [ ] { } => -lrb- -rrb- -lsb- -rsb- -lcb- -rcb-
            :) :-( =D >:( :)a ^_^ (^-^) => :-rrb- :--lrb- =d >:-lrb- : -rrb- a ^_^ -lrb-^-^-rrb-
            a–b a—b -- --- ---- ----- => a -- b a -- b -- -- -- -----
            … ... .... a . . . a .. => ... ... ... a ... a . .
            a...b a... ....... => a. . . b a. . . ... . .
            !! !!! ?! ** ## @@ << >>> => !! !!! ?! ** ## @@ << >> >
            & % $ # / * ~ ^ _ | @ ° + = => & % $ # / * ~ ^ _ | @ ° + =
            #tag #1 #a5 @user @5 => #tag # 1 #a 5 @user @ 5
            -LRB- \* => -lrb- \*
            ",
        );
    }

    #[test]
    fn markup_and_addresses() {
        check(
            r#"
            &amp; &lt; &gt; &nbsp; &mdash; &#39; &copy; => & < > -- &#39; & copy ;
            AT&amp;T caf&eacute; => at&t caf&eacute;
            <unk> </b> <br/> <a b="c"> <a, b> <3 => <unk> </b> <br/> <a_b="c"> < a , b > < 3
            http://a.com/b. (www.a.com) => http://a.com/b . -lrb- www.a.com -rrb-
            www.a.com/b www.a.com/bc => www.a.com / b www.a.com/bc
            a.com/bc Aa.com/bc #a.com => a.com/bc aa.com / bc #a.com
            a@b.com, a@b.com) <a@b.c> => a@b.com, a@b.com -rrb- <a@b.c>
            "#,
        );
    }

    #[test]
    fn soft_hyphens_are_kept_in_file_names_and_lost_in_words() {
        check(
            "
            a \u{AD}file.txt b => a \u{AD}file.txt b
            run\u{AD}file.txt, f\u{AD}ile.html => run\u{AD}file.txt , f\u{AD}ile.html
            5\u{AD}3.jpg file\u{AD}.TXT => 5\u{AD}3.jpg file\u{AD}.txt
            file.ht\u{AD}ml a.\u{AD}txt x => file.html a.txt x
            do\u{AD}n't don\u{AD}n't => do n't donn ' t
            a \u{AD}n't => a n ' t
            ",
        );
    }

    #[test]
    fn other_scripts_and_unknown_characters() {
        check(
            "
            ΣΟΦΟΣ İ CAFÉ => σοφος i̇ café
            一只猫 猫。 한국어 सेब => 一只猫 猫 。 한국어 सेब
            a😀b a\u{200B}b a\u{FEFF}b => a b a b a b
            a\u{3000}b => a b
            ",
        );
        assert_eq!(tokenize("a\u{A0}b a\u{85}b"), ["a", "b", "a", "...", "b"]);
    }

    #[test]
    fn line_breaks_are_spaces() {
        for line_break in ["\n", "\r\n", "\x0B", "\x0C", "\u{2028}", "\u{2029}"] {
            let text = format!("a{line_break}b 'c{line_break}");
            assert_eq!(tokenize(&text), tokenize("a b 'c "), "{line_break:?}");
            assert_eq!(caption(&text), "a b c", "{line_break:?}");
        }
    }

    #[test]
    fn punctuation_is_dropped_exactly() {
        assert_eq!(caption("(\"a\", b!) -- c ... ?!"), "-lrb- a b -rrb- c ?!");
        assert_eq!(caption(""), "");
        assert_eq!(caption(" . "), "");
        assert!(is_dropped("-LRB-") && !is_dropped("-lrb-") && !is_dropped(""));
    }

    /// Units that made a first version quadratic, or could have.
    #[test]
    fn a_megabyte_of_anything_takes_seconds() {
        #[rustfmt::skip]
        let units = [
            "a", "a,", "a.", "a-", "a_", "a/", "a'", "a&", "A&", "a@", "@", ".", ",", "-", "'", "\"",
            "5.ab.", "5,", "5-", "5/", "(55) ", "5 ", "<", "<a ", "<a b=\"", "<a b='\" c=\"", "<!a",
            "</a", "&", "&lt;", "http://-", "www.\\", "www.+.com/`", "a.com/", "Aa.com/", ".com",
            "%", "U.S. ", "K.  ", "n't", "nn't", "l'", "o'a'", "\u{AD}", "\u{3A3}", "\u{301}", "😀",
            "é.", "\u{A0}", "‘", "1/", "1,a", "x_", ":-", "#a", "\\*", "etc.", "e.",
        ];
        for unit in units {
            assert_scans_fast(&unit.repeat(1_000_000 / unit.len()));
        }
    }

    /// A quadratic scan of a megabyte takes a quarter of an hour, the linear one a tenth of a second.
    #[track_caller]
    fn assert_scans_fast(text: &str) {
        let start = Instant::now();
        let _ = caption(text);
        let elapsed = start.elapsed();
        let beginning: String = text.chars().take(20).collect();
        assert!(
            elapsed < Duration::from_secs(20),
            "{beginning:?}: {elapsed:?}"
        );
    }

    /// Text of the pieces that rules look for, in any order.
    fn pieces() -> impl Strategy<Value = String> {
        let named = proptest::sample::select(vec![
            "n't", "'s", "U.S.", "etc. The", "Mr.", "No. 5", "1/2", "http://", "www.", ".com/",
            "&amp;", "&quot;", "&eacute;", "<a b=\"", "/>", "555 ", "\u{AD}", "\u{A0}", "’", "“",
        ]);
        let ascii = proptest::char::range(' ', '~').prop_map(String::from);
        let piece = prop_oneof![
            2 => ascii,
            1 => any::<char>().prop_map(String::from),
            1 => named.prop_map(str::to_owned),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn tokens_are_not_empty_and_hold_no_white_space(text in pieces()) {
            for token in tokenize(&text) {
                prop_assert!(!token.is_empty());
                let is_space = |c: char| c == ' ' || c.is_ascii_control() && c.is_whitespace();
                prop_assert!(!token.contains(is_space), "{token:?}");
            }
        }

        #[test]
        fn a_caption_is_its_tokens_less_punctuation(text in pieces()) {
            let mut kept = tokenize(&text);
            kept.retain(|token| !is_dropped(token));
            let (caption, kept) = (caption(&text), kept.join(" "));
            prop_assert_eq!(caption.trim_end(), kept.trim_end());
        }

        #[test]
        fn what_follows_matters_to_the_last_period_only(text in pieces(), following in pieces()) {
            let without_period = |mut tokens: Vec<String>| {
                tokens.retain(|token| token != ".");
                if let Some(last) = tokens.last_mut() {
                    last.truncate(last.trim_end_matches('.').len());
                }
                tokens
            };
            let before = tokenize_before(&text, &following);
            prop_assert_eq!(without_period(tokenize(&text)), without_period(before));
        }

        #[test]
        fn repeated_text_is_scanned_in_linear_time(unit in pieces()) {
            let count = 100_000 / unit.len().max(1);
            assert_scans_fast(&unit.repeat(count));
        }
    }
}
