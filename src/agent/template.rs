//! The command of a stream: a template whose placeholders are filled with the stream's own values.
//!
//! The text is split into words once, before any value is known, and no shell is involved: a value can neither add a
//! word nor be read as shell code, whatever it contains.

use std::collections::BTreeMap;

use streamkeeper_worker::{Epoch, StreamId};

/// The placeholders, as error texts name them.
const KNOWN: &str = "{source}, {stream}, {epoch}, {label.KEY}";

/// Why a text is no command, or why it does not fit a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No word at all.
    #[error(
        "the command is empty; write the program and its arguments, such as: ffmpeg -i {{source}} -f null -"
    )]
    Empty,
    /// Quotes do not match.
    #[error(
        "the command has a quote without its partner: {0}; close it, or write \\' or \\\" for the character"
    )]
    Quotes(String),
    /// A placeholder that does not exist.
    #[error("{{{name}}} in {word:?} is not known; use {KNOWN}, and {{{{ for a brace")]
    Unknown {
        /// The word around it.
        word: String,
        /// What the braces hold.
        name: String,
    },
    /// A brace that is not closed.
    #[error("{{ in {word:?} is not closed; use {KNOWN}, and {{{{ for a brace")]
    Open {
        /// The word around it.
        word: String,
    },
    /// The program depends on the stream.
    #[error(
        "the program {word:?} has a placeholder; a stream must not choose the program, only its arguments"
    )]
    Program {
        /// The first word.
        word: String,
    },
    /// The stream lacks a label that the command names.
    #[error(
        "stream {stream} has no label {key:?}, which the command needs as {{label.{key}}}; set it on the stream"
    )]
    Label {
        /// The stream.
        stream: StreamId,
        /// The label's key.
        key: String,
    },
}

/// A command with placeholders `{source}`, `{stream}`, `{epoch}` and `{label.KEY}`; `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTemplate {
    program: String,
    args: Vec<Vec<Piece>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Source,
    Stream,
    Epoch,
    Label(String),
}

/// What the placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) stream: &'a StreamId,
    pub(crate) epoch: Epoch,
    pub(crate) source: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
}

impl CommandTemplate {
    /// Reads a command, with quotes as a shell has them.
    ///
    /// # Errors
    /// When it is empty, a quote is not closed or a placeholder is not known.
    ///
    /// ```
    /// use streamkeeper_agent::CommandTemplate;
    /// assert!(CommandTemplate::parse("ffmpeg -nostdin -i {source} -f null -").is_ok());
    /// assert!(CommandTemplate::parse("ffmpeg -i {sorce}").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let words = shell_words::split(text).map_err(|_| TemplateError::Quotes(text.to_owned()))?;
        let (first, rest) = words.split_first().ok_or(TemplateError::Empty)?;
        let program = match pieces(first)?.as_slice() {
            [] => return Err(TemplateError::Empty),
            [Piece::Text(text)] => text.clone(),
            _ => return Err(TemplateError::Program { word: first.clone() }),
        };
        let args = rest.iter().map(|word| pieces(word)).collect::<Result<_, _>>()?;
        Ok(Self { program, args })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The arguments for one stream.
    pub(crate) fn args(&self, values: Values<'_>) -> Result<Vec<String>, TemplateError> {
        self.args.iter().map(|word| fill(word, values)).collect()
    }
}

fn fill(word: &[Piece], values: Values<'_>) -> Result<String, TemplateError> {
    let mut filled = String::new();
    for piece in word {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Source => filled.push_str(values.source),
            Piece::Stream => filled.push_str(values.stream.as_str()),
            Piece::Epoch => filled.push_str(&values.epoch.get().to_string()),
            Piece::Label(key) => {
                filled.push_str(values.labels.get(key).ok_or_else(|| TemplateError::Label {
                    stream: values.stream.clone(),
                    key: key.clone(),
                })?);
            }
        }
    }
    Ok(filled)
}

/// Cuts a word at its placeholders.
fn pieces(word: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let brace = &from[..1];
        if from[1..].starts_with(brace) || brace == "}" {
            // A doubled brace is one brace; a lone closing one closes nothing.
            text.push_str(brace);
            rest = from[1..].strip_prefix(brace).unwrap_or(&from[1..]);
            continue;
        }
        let (name, after) = from[1..].split_once('}').ok_or_else(|| TemplateError::Open {
            word: word.to_owned(),
        })?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(placeholder(name, word)?);
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

fn placeholder(name: &str, word: &str) -> Result<Piece, TemplateError> {
    match (name, name.strip_prefix("label.")) {
        ("source", _) => Ok(Piece::Source),
        ("stream", _) => Ok(Piece::Stream),
        ("epoch", _) => Ok(Piece::Epoch),
        (_, Some(key)) if !key.is_empty() => Ok(Piece::Label(key.to_owned())),
        _ => Err(TemplateError::Unknown {
            word: word.to_owned(),
            name: name.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn filled(template: &str, source: &str) -> Vec<String> {
        let command = CommandTemplate::parse(template).unwrap();
        let args = command
            .args(Values {
                stream: &StreamId::new("radio-7").unwrap(),
                epoch: serde_json::from_str("4294967298").unwrap(),
                source,
                labels: &BTreeMap::from([("region".to_owned(), "north sea".to_owned())]),
            })
            .unwrap();
        [vec![command.program().to_owned()], args].concat()
    }

    #[test]
    fn commands_are_split_once_and_filled() {
        for (template, source, expected) in [
            ("cat", "x", vec!["cat"]),
            (
                "ffmpeg -i {source} -f null -",
                "http://h/a b",
                vec!["ffmpeg", "-i", "http://h/a b", "-f", "null", "-"],
            ),
            (
                "p '{source}'",
                "it's; rm -rf $HOME `x`",
                vec!["p", "it's; rm -rf $HOME `x`"],
            ),
            ("p \"a b\" ''", "x", vec!["p", "a b", ""]),
            (
                "p id={stream}@{epoch} {label.region}",
                "x",
                vec!["p", "id=radio-7@4294967298", "north sea"],
            ),
            ("p {source}", "{stream} {{", vec!["p", "{stream} {{"]),
            ("p {{source}} }{{{source}}}", "x", vec!["p", "{source}", "}{x}"]),
            ("p {source}{source}", "", vec!["p", ""]),
        ] {
            assert_eq!(filled(template, source), expected, "{template}");
        }
    }

    #[test]
    fn bad_commands_are_refused_with_what_to_write() {
        for (template, part) in [
            ("", "the command is empty"),
            ("  ", "the command is empty"),
            ("'' x", "the command is empty"),
            ("p 'x", "a quote without its partner: p 'x"),
            ("p {sorce}", "{sorce} in \"{sorce}\" is not known; use {source}"),
            ("p {}", "{} in"),
            ("p {label.}", "{label.} in"),
            ("p x{source", "{ in \"x{source\" is not closed"),
            ("{source} x", "must not choose the program"),
        ] {
            let error = CommandTemplate::parse(template).unwrap_err().to_string();
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    #[test]
    fn a_missing_label_is_named() {
        let command = CommandTemplate::parse("p {label.region}").unwrap();
        let stream = StreamId::new("s").unwrap();
        let error = command
            .args(Values {
                stream: &stream,
                epoch: serde_json::from_str("1").unwrap(),
                source: "x",
                labels: &BTreeMap::new(),
            })
            .unwrap_err();
        assert!(
            error.to_string().contains("stream s has no label \"region\""),
            "{error}"
        );
    }
}
