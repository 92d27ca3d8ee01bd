//! From text to the tree of an expression. The grammar is in docs/classes.md.
//!
//! An operand of `and` and `or` that cannot be read is complained of and passed over, so that one look finds all that is
//! wrong.

use winnow::{
    ModalResult, Parser as _,
    combinator::{delimited, opt, preceded, separated},
    error::{ErrMode, ParserError},
    stream::{Location as _, Stateful, Stream as _, TokenSlice},
};

use super::{
    ast::{Comparison, Item, Key, Kind, Node},
    fault::Fault,
    lex::{self, Token, Word},
};

/// Most bytes of an expression's text.
pub const MAX_TEXT: usize = 16 * 1024;
/// How deep parentheses, `not` and functions may be nested: this bounds the parser's own stack.
pub(super) const MAX_DEPTH: usize = 24;

/// Words that are no names.
pub(super) const KEYWORDS: [&str; 4] = ["and", "or", "not", "in"];

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    depth: usize,
    /// Length of the text, where what is missing at its end is missing.
    end: usize,
}

type Input<'t> = Stateful<TokenSlice<'t, Word>, State>;
type Parsed<T> = ModalResult<T, Unexpected>;

/// A word that cannot stand where it stands.
#[derive(Debug)]
struct Unexpected {
    /// Words that were left, that one included.
    left: usize,
    fault: Option<Fault>,
}

impl ParserError<Input<'_>> for Unexpected {
    type Inner = Self;

    fn from_input(input: &Input<'_>) -> Self {
        Self { left: input.input.len(), fault: None }
    }
    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

/// Reads an expression.
///
/// # Errors
/// All that is wrong with its words and their order, in the order of the text.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Fault>> {
    if text.len() > MAX_TEXT {
        let message = format!("an expression of {} bytes; expected at most {MAX_TEXT}", text.len());
        return Err(vec![Fault::new(0..text.len(), message)]);
    }
    let mut faults = Vec::new();
    let words = lex::words(text, &mut faults);
    let state = State { faults, depth: 0, end: text.len() };
    let mut input = Stateful { input: TokenSlice::new(&words), state };
    let node = expression(&mut input);
    if !input.input.is_empty() {
        let fault = unexpected(&input, "`and`, `or` or the end");
        input.state.faults.extend(fault.fault);
    }
    let mut faults = input.state.faults;
    faults.sort_by_key(|fault| fault.span.start);
    match node {
        Ok(node) if faults.is_empty() => Ok(node),
        Err(error) if faults.is_empty() => Err(error.into_inner().ok().and_then(|e| e.fault).into_iter().collect()),
        _ => Err(faults),
    }
}

/// The word here cannot stand here. Of one that was complained of already nothing more is said.
fn unexpected(input: &Input<'_>, expected: &str) -> Unexpected {
    let left = input.input.len();
    let (span, found) = match input.input.first() {
        None => (input.state.end..input.state.end, "the end".to_owned()),
        Some(Word { token: Token::Wrong, .. }) => return Unexpected { left, fault: None },
        Some(word) => (word.span.clone(), format!("`{}`", spelled(&word.token))),
    };
    Unexpected { left, fault: Some(Fault::new(span, format!("found {found}; expected {expected}"))) }
}

fn fail<T>(input: &Input<'_>, expected: &str) -> Parsed<T> {
    Err(ErrMode::Cut(unexpected(input, expected)))
}

fn spelled(token: &Token) -> String {
    let kind = match token {
        Token::Name(name) => return name.clone(),
        Token::Symbol(symbol) => return (*symbol).to_owned(),
        Token::Number(number) => Kind::Number(*number),
        Token::Hex(bytes) => Kind::Hex(bytes.clone()),
        Token::Text(bytes) => Kind::Text(bytes.clone()),
        Token::Address(address) => Kind::Address(*address),
        Token::Wrong => Kind::Wrong,
    };
    Node { kind, span: 0..0 }.to_string()
}

/// Takes this word if it is the next.
fn is_next(input: &mut Input<'_>, token: &Token) -> bool {
    let found = input.input.first().is_some_and(|word| word.token == *token);
    if found {
        input.next_token();
    }
    found
}

/// A parser of one symbol.
fn symbol<'t>(symbol: &'static str, expected: &'static str) -> impl FnMut(&mut Input<'t>) -> Parsed<()> {
    move |input| if is_next(input, &Token::Symbol(symbol)) { Ok(()) } else { fail(input, expected) }
}

/// A parser of a symbol that need not be there.
fn maybe<'t>(symbol: &'static str) -> impl FnMut(&mut Input<'t>) -> Parsed<()> {
    move |input| {
        if is_next(input, &Token::Symbol(symbol)) {
            Ok(())
        } else {
            Err(ErrMode::Backtrack(Unexpected::from_input(input)))
        }
    }
}

/// A parser of a keyword that need not be there.
fn keyword<'t>(word: &'static str) -> impl FnMut(&mut Input<'t>) -> Parsed<()> {
    move |input| {
        let found = matches!(input.input.first(), Some(Word { token: Token::Name(name), .. }) if name == word);
        if found {
            input.next_token();
            Ok(())
        } else {
            Err(ErrMode::Backtrack(Unexpected::from_input(input)))
        }
    }
}

fn spanned<'t>(mut parser: impl FnMut(&mut Input<'t>) -> Parsed<Kind>) -> impl FnMut(&mut Input<'t>) -> Parsed<Node> {
    move |input| {
        let start = input.current_token_start();
        let kind = parser(input)?;
        Ok(Node { kind, span: start..input.previous_token_end() })
    }
}

/// Runs a parser one level deeper.
fn deeper<'t, T>(input: &mut Input<'t>, mut parser: impl FnMut(&mut Input<'t>) -> Parsed<T>) -> Parsed<T> {
    if input.state.depth == MAX_DEPTH {
        let span = input.input.first().map_or(input.state.end..input.state.end, |word| word.span.clone());
        let message = format!("nested more than {MAX_DEPTH} deep; expected parts of it as classes, used by member(…)");
        let left = input.input.len();
        return Err(ErrMode::Cut(Unexpected { left, fault: Some(Fault::new(span, message)) }));
    }
    input.state.depth += 1;
    let result = parser(input);
    input.state.depth -= 1;
    result
}

/// `a or b or c`
fn expression(input: &mut Input<'_>) -> Parsed<Node> {
    spanned(|input| {
        let nodes: Vec<Node> = separated(1.., conjunction, keyword("or")).parse_next(input)?;
        Ok(one_or(nodes, Kind::Or))
    })(input)
}

/// `a and b and c`
fn conjunction(input: &mut Input<'_>) -> Parsed<Node> {
    spanned(|input| {
        let nodes: Vec<Node> = separated(1.., operand, keyword("and")).parse_next(input)?;
        Ok(one_or(nodes, Kind::And))
    })(input)
}

fn one_or(mut nodes: Vec<Node>, many: impl FnOnce(Vec<Node>) -> Kind) -> Kind {
    match nodes.pop() {
        Some(node) if nodes.is_empty() => node.kind,
        Some(last) => {
            nodes.push(last);
            many(nodes)
        }
        None => Kind::Wrong,
    }
}

/// What stands between `and` and `or`; one that cannot be read is passed over.
fn operand(input: &mut Input<'_>) -> Parsed<Node> {
    let start = input.checkpoint();
    let at = input.current_token_start();
    match negation(input) {
        Ok(node) => Ok(node),
        Err(error) => {
            let Ok(Unexpected { left, fault }) = error.into_inner() else { return Ok(wrong(at)) };
            input.state.faults.extend(fault);
            input.reset(&start);
            pass_over(input, left);
            Ok(wrong(at))
        }
    }
}

fn wrong(at: usize) -> Node {
    Node { kind: Kind::Wrong, span: at..at }
}

/// Passes over words beyond the one of which `left` were left, up to where an operand ends.
fn pass_over(input: &mut Input<'_>, left: usize) {
    let mut open = 0usize;
    while let Some(word) = input.input.first() {
        let is_beyond = input.input.len() <= left;
        match &word.token {
            Token::Name(name) if is_beyond && open == 0 && (name == "and" || name == "or") => return,
            Token::Symbol(")") if is_beyond && open == 0 => return,
            Token::Symbol("(") => open += 1,
            Token::Symbol(")") => open = open.saturating_sub(1),
            _ => {}
        }
        input.next_token();
    }
}

/// `not a`
fn negation(input: &mut Input<'_>) -> Parsed<Node> {
    spanned(|input| match opt(keyword("not")).parse_next(input)? {
        Some(()) => Ok(Kind::Not(Box::new(deeper(input, negation)?))),
        None => comparison(input),
    })(input)
}

/// `a == b`, `a in (b, c)` or `a` alone.
fn comparison(input: &mut Input<'_>) -> Parsed<Kind> {
    let left = value(input)?;
    if let Some(comparison) = Comparison::ALL.into_iter().find(|c| is_next(input, &Token::Symbol(c.symbol()))) {
        let right = value(input)?;
        return Ok(Kind::Compare(comparison, Box::new(left), Box::new(right)));
    }
    let negated = opt(keyword("not")).parse_next(input)?.is_some();
    if opt(keyword("in")).parse_next(input)?.is_some() {
        return Ok(Kind::In { value: Box::new(left), negated, items: items(input)? });
    }
    if negated { fail(input, "`in` after `not`") } else { Ok(left.kind) }
}

/// What a value may be in: one item, or several in parentheses.
fn items(input: &mut Input<'_>) -> Parsed<Vec<Item>> {
    if is_next(input, &Token::Symbol("(")) {
        let items = separated(1.., item, maybe(",")).parse_next(input)?;
        symbol(")", "`,` or `)`")(input)?;
        Ok(items)
    } else {
        Ok(vec![item(input)?])
    }
}

/// `10.0.0.0/8`, `100-199` or one literal.
fn item(input: &mut Input<'_>) -> Parsed<Item> {
    let first = literal(input)?;
    if is_next(input, &Token::Symbol("-")) {
        return Ok(Item::Range(first, literal(input)?));
    }
    if let Kind::Address(address) = first.kind
        && is_next(input, &Token::Symbol("/"))
    {
        let len = number(input, "the length of a prefix, as in 10.0.0.0/8")?;
        return Ok(Item::Prefix(address, len, first.span.start..input.previous_token_end()));
    }
    Ok(Item::One(first))
}

/// A literal, or the name of a number.
fn literal(input: &mut Input<'_>) -> Parsed<Node> {
    spanned(|input| {
        let kind = match input.input.first().map(|word| &word.token) {
            Some(Token::Number(number)) => Kind::Number(*number),
            Some(Token::Hex(bytes)) => Kind::Hex(bytes.clone()),
            Some(Token::Text(bytes)) => Kind::Text(bytes.clone()),
            Some(Token::Address(address)) => Kind::Address(*address),
            Some(Token::Name(name)) if !KEYWORDS.contains(&name.as_str()) => Kind::Name(name.clone(), None),
            _ => return fail(input, "a number, an address, a prefix, a text or bytes"),
        };
        input.next_token();
        Ok(kind)
    })(input)
}

/// A value: something with `.name` and `.name[key]` behind it any number of times.
fn value(input: &mut Input<'_>) -> Parsed<Node> {
    let start = input.current_token_start();
    let mut node = deeper(input, primary)?;
    let mut attributes = 0;
    while is_next(input, &Token::Symbol(".")) {
        let (name, key) = (name(input, "a name after `.`, as `.exists`")?, key(input)?);
        attributes += 1;
        if attributes > MAX_DEPTH {
            return fail(input, &format!("at most {MAX_DEPTH} names after one value"));
        }
        node = Node { kind: Kind::Attribute(Box::new(node), name, key), span: start..input.previous_token_end() };
    }
    Ok(node)
}

fn primary(input: &mut Input<'_>) -> Parsed<Node> {
    const EXPECTED: &str = "a field, an option, a function, a literal or `(`";
    let start = input.current_token_start();
    let kind = match input.input.first().map(|word| &word.token) {
        Some(Token::Symbol("(")) => return delimited(maybe("("), expression, symbol(")", "`)`")).parse_next(input),
        Some(Token::Symbol("-")) => preceded(maybe("-"), |input: &mut Input<'_>| number(input, "a number after `-`"))
            .map(|number| Kind::Number(-number))
            .parse_next(input)?,
        Some(Token::Name(name)) if KEYWORDS.contains(&name.as_str()) => return fail(input, EXPECTED),
        Some(Token::Name(_)) => named(input)?,
        Some(Token::Number(_) | Token::Hex(_) | Token::Text(_) | Token::Address(_)) => literal(input)?.kind,
        _ => return fail(input, EXPECTED),
    };
    Ok(Node { kind, span: start..input.previous_token_end() })
}

/// `name`, `name[key]` or `name(argument, …)`.
fn named(input: &mut Input<'_>) -> Parsed<Kind> {
    let name = name(input, "a name")?;
    if !is_next(input, &Token::Symbol("(")) {
        return Ok(Kind::Name(name, key(input)?));
    }
    if is_next(input, &Token::Symbol(")")) {
        return Ok(Kind::Call(name, Vec::new()));
    }
    let arguments = separated(1.., argument, maybe(",")).parse_next(input)?;
    symbol(")", "`,` or `)`")(input)?;
    Ok(Kind::Call(name, arguments))
}

/// A function takes values; a whole expression needs parentheses there, and is a wrong type anyway.
fn argument(input: &mut Input<'_>) -> Parsed<Node> {
    value(input)
}

/// `[60]` or `[vendor-class-identifier]`, if there is one.
fn key(input: &mut Input<'_>) -> Parsed<Option<Key>> {
    if !is_next(input, &Token::Symbol("[")) {
        return Ok(None);
    }
    let key = match input.input.first().map(|word| &word.token) {
        Some(Token::Number(number)) => Key::Number(*number),
        Some(Token::Name(name)) => Key::Name(name.clone()),
        _ => return fail(input, "a number or a name in brackets, as option[60] or option[vendor-class-identifier]"),
    };
    input.next_token();
    symbol("]", "`]`")(input)?;
    Ok(Some(key))
}

fn name(input: &mut Input<'_>, expected: &str) -> Parsed<String> {
    match input.input.first().map(|word| &word.token) {
        Some(Token::Name(name)) => {
            let name = name.clone();
            input.next_token();
            Ok(name)
        }
        _ => fail(input, expected),
    }
}

fn number(input: &mut Input<'_>, expected: &str) -> Parsed<i64> {
    match input.input.first().map(|word| &word.token) {
        Some(Token::Number(number)) => {
            let number = *number;
            input.next_token();
            Ok(number)
        }
        _ => fail(input, expected),
    }
}
