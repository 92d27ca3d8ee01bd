//! The words of an expression.

use std::{net::Ipv4Addr, ops::Range};

use winnow::{
    LocatingSlice, ModalResult, Parser as _,
    ascii::digit1,
    combinator::{alt, preceded, repeat},
    error::{ErrMode, ParserError},
    stream::{AsChar as _, Location, Stream as _},
    token::{any, one_of, take_while},
};

use super::fault::Fault;

/// A word and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub token: Token,
    pub span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword.
    Name(String),
    Number(i64),
    Hex(Vec<u8>),
    Text(Vec<u8>),
    Address(Ipv4Addr),
    Symbol(&'static str),
    /// Could not be read; that was complained of.
    Wrong,
}

impl Location for Word {
    fn previous_token_end(&self) -> usize {
        self.span.end
    }
    fn current_token_start(&self) -> usize {
        self.span.start
    }
}

/// Symbols, the longer of two that begin alike first.
const SYMBOLS: [&str; 14] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", ".", "/", "-"];

type Input<'i> = LocatingSlice<&'i str>;

/// Why a word cannot be read; empty when it is no word of this kind.
#[derive(Debug, Default)]
struct Problem(String);

impl ParserError<Input<'_>> for Problem {
    type Inner = Self;

    fn from_input(_: &Input<'_>) -> Self {
        Self::default()
    }
    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

fn problem<T>(message: impl Into<String>) -> ModalResult<T, Problem> {
    Err(ErrMode::Cut(Problem(message.into())))
}

/// The words of a text. What is no word is complained of and stands among them as [`Token::Wrong`].
pub(super) fn words(text: &str, faults: &mut Vec<Fault>) -> Vec<Word> {
    let mut input = LocatingSlice::new(text);
    let mut words = Vec::new();
    loop {
        skip(&mut input);
        let start = input.current_token_start();
        let checkpoint = input.checkpoint();
        let Some(first) = input.peek_token() else { return words };
        let token = match word.parse_next(&mut input) {
            Ok(token) => token,
            Err(error) => {
                if input.current_token_start() == start {
                    input.reset(&checkpoint);
                    input.next_token();
                }
                let problem = error.into_inner().unwrap_or_default().0;
                let message = if problem.is_empty() { stray(first) } else { problem };
                faults.push(Fault::new(start..input.current_token_start(), message));
                Token::Wrong
            }
        };
        words.push(Word { token, span: start..input.current_token_start() });
    }
}

/// What to write in place of a character that begins no word.
fn stray(c: char) -> String {
    let advice = match c {
        '=' => "equal is written `==`",
        '!' => "not is written `not`, and unequal `!=`",
        '&' => "and is written `and`",
        '|' => "or is written `or`",
        '+' => "texts are joined by concat(…, …)",
        _ => "expected a name, a value, an operator or a parenthesis",
    };
    format!("found `{c}`; {advice}")
}

/// Space, and comments from `#` to the end of their line.
fn skip(input: &mut Input<'_>) {
    let space = take_while::<_, _, Problem>(1.., char::is_whitespace).void();
    let comment = ("#", take_while::<_, _, Problem>(0.., |c| c != '\n')).void();
    // It cannot fail: none is as good as many.
    let _: Result<(), _> = repeat(0.., alt((space, comment))).parse_next(input);
}

fn word(input: &mut Input<'_>) -> ModalResult<Token, Problem> {
    alt((text, colon_hex, address, hex, number, name, symbol)).parse_next(input)
}

/// A letter, then letters, digits, `_` and `-`.
fn name(input: &mut Input<'_>) -> ModalResult<Token, Problem> {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    (one_of(letter), take_while(0.., |c: char| letter(c) || c.is_ascii_digit() || c == '-'))
        .take()
        .map(|name: &str| Token::Name(name.to_owned()))
        .parse_next(input)
}

fn symbol(input: &mut Input<'_>) -> ModalResult<Token, Problem> {
    for symbol in SYMBOLS {
        if input.starts_with(symbol) {
            input.next_slice(symbol.len());
            return Ok(Token::Symbol(symbol));
        }
    }
    Err(ErrMode::Backtrack(Problem::default()))
}

fn digits(input: &mut Input<'_>) -> ModalResult<(), Problem> {
    digit1.void().parse_next(input)
}

fn address(input: &mut Input<'_>) -> ModalResult<Token, Problem> {
    let found = (digits, ".", digits, ".", digits, ".", digits).take().parse_next(input)?;
    match found.parse() {
        Ok(address) => Ok(Token::Address(address)),
        Err(_) => problem(format!("found {found}; expected an IPv4 address, as 192.0.2.1")),
    }
}

/// `00:1a:2b`: two digits a byte, as hardware addresses are written.
fn colon_hex(input: &mut Input<'_>) -> ModalResult<Token, Problem> {
    let pair = |input: &mut Input<'_>| {
        take_while(2, |c: char| c.is_ascii_hexdigit()).map(byte_of).parse_next(input) as ModalResult<u8, Problem>
    };
    let first = pair(input)?;
    let rest: Vec<u8> = repeat(1.., preceded(":", pair)).parse_next(input)?;
    let more: &str = take_while(0.., |c: char| c.is_ascii_hexdigit() || c == ':').parse_next(input)?;
    if !more.is_empty() {
        return problem("found bytes that are not two hexadecimal digits each; expected them as 00:1a:2b");
    }
    Ok(Token::Hex([&[first], &rest[..]].concat()))
}

fn byte_of(pair: &str) -> u8 {
    u8::from_str_radix(pair, 16).unwrap_or(0)
}

/// `0x001a2b`.
fn hex(input: &mut Input<'_>) -> ModalResult<Token, Problem> {
    let digits = preceded("0x", take_while(0.., |c: char| c.is_ascii_alphanumeric())).parse_next(input)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return problem(format!("found `0x{digits}`; expected bytes in hexadecimal, as 0x001a2b"));
    }
    if !digits.len().is_multiple_of(2) {
        return problem(format!(
            "found `0x{digits}`, half a byte too many; expected two digits a byte, as 0x0{digits}"
        ));
    }
    Ok(Token::Hex(digits.as_bytes().chunks_exact(2).map(|pair| byte_of(str::from_utf8(pair).unwrap_or(""))).collect()))
}

fn number(input: &mut Input<'_>) -> ModalResult<Token, Problem> {
    let digits = digit1.parse_next(input)?;
    let more = take_while(0.., |c: char| c.is_alphanum() || c == '_').parse_next(input)?;
    if !more.is_empty() {
        return problem(format!("found `{digits}{more}`; expected a number, as 42, or bytes in hexadecimal, as 0x42"));
    }
    match digits.parse() {
        Ok(number) => Ok(Token::Number(number)),
        Err(_) => problem(format!("found {digits}; expected a number of at most {}", i64::MAX)),
    }
}

/// A text in either kind of quotes, with `\"`, `\'`, `\\` and `\x1f` for what cannot stand for itself.
fn text(input: &mut Input<'_>) -> ModalResult<Token, Problem> {
    let quote = one_of(['"', '\'']).parse_next(input)?;
    let mut bytes = Vec::new();
    loop {
        let Ok(c) = any::<_, ErrMode<Problem>>.parse_next(input) else {
            return problem(format!("the text that begins here has no end; expected another {quote}"));
        };
        match c {
            '\\' => bytes.push(escaped(input)?),
            c if c == quote => return Ok(Token::Text(bytes)),
            c => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn escaped(input: &mut Input<'_>) -> ModalResult<u8, Problem> {
    let quoted = one_of(['"', '\'', '\\']).map(|c: char| c as u8);
    let hex = preceded("x", take_while(2, |c: char| c.is_ascii_hexdigit())).map(byte_of);
    alt((quoted, hex)).parse_next(input).or_else(|_: ErrMode<Problem>| {
        problem("found a `\\` that means nothing; expected \\\\, \\\", \\' or a byte as \\x1f")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let mut faults = Vec::new();
        let words = words(text, &mut faults);
        assert_eq!(faults, [], "{text}");
        words.into_iter().map(|word| word.token).collect()
    }

    fn faults(text: &str) -> Vec<(Range<usize>, String)> {
        let mut faults = Vec::new();
        words(text, &mut faults);
        faults.into_iter().map(|fault| (fault.span, fault.message)).collect()
    }

    #[test]
    fn literals_of_each_kind_are_read() {
        assert_eq!(
            tokens(r#"'a"\x00' "it's" 0x0AfF aa:00:1b 10.0.0.1 42 b-c_1"#),
            [
                Token::Text(b"a\"\0".to_vec()),
                Token::Text(b"it's".to_vec()),
                Token::Hex(vec![0x0a, 0xff]),
                Token::Hex(vec![0xaa, 0, 0x1b]),
                Token::Address(Ipv4Addr::new(10, 0, 0, 1)),
                Token::Number(42),
                Token::Name("b-c_1".into()),
            ]
        );
    }

    #[test]
    fn comments_and_lines_are_space() {
        assert_eq!(tokens("1 # 'x\n\t2#").len(), 2);
        assert_eq!(tokens(" # only"), []);
    }

    #[test]
    fn a_range_is_three_words_and_a_prefix_is_three() {
        assert_eq!(tokens("100-199"), [Token::Number(100), Token::Symbol("-"), Token::Number(199)]);
        assert_eq!(tokens("10.0.0.0/8").len(), 3);
    }

    #[test]
    fn each_wrong_word_is_told_with_its_place_and_the_rest_is_read() {
        let cases = [
            ("1 = 2", 2..3, "equal is written `==`"),
            ("a & b", 2..3, "and is written `and`"),
            ("0xabc", 0..5, "as 0x0abc"),
            ("0xzz", 0..4, "as 0x001a2b"),
            ("12ab", 0..4, "found `12ab`; expected a number"),
            ("1.2.3.456 x", 0..9, "expected an IPv4 address"),
            ("'abc", 0..4, "has no end"),
            (r"'a\n'", 0..3, "found a `\\`"),
            ("00:1a:2 x", 0..7, "two hexadecimal digits each"),
            ("99999999999999999999", 0..20, "at most"),
            ("ä", 0..2, "found `ä`"),
        ];
        for (text, span, part) in cases {
            let found = faults(text);
            assert_eq!(found[0].0, span, "{text}: {found:?}");
            assert!(found[0].1.contains(part), "{text}: {found:?}");
        }
        assert_eq!(faults("1 = 2 & 3").len(), 2);
    }
}
