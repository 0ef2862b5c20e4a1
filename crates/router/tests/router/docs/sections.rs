//! A document as sections: a heading and the blocks below it, and what of them is the same in
//! every language.

use std::collections::BTreeSet;
use std::fmt;

use crate::docs::links;

/// One block of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Lines of prose.
    Paragraph,
    /// One point of a list.
    Item,
    /// A table: its lines without the one below the head, and its columns.
    Table { rows: usize, columns: usize },
    /// A fenced block: what stands after the fence, and the text.
    Code { info: String, text: String },
}

impl fmt::Display for Block {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paragraph => write!(to, "a paragraph"),
            Self::Item => write!(to, "a point of a list"),
            Self::Table { rows, columns } => write!(to, "a table of {rows} rows and {columns} columns"),
            Self::Code { info, text } => {
                write!(to, "a block of `{info}` that begins `{}`", text.lines().next().unwrap_or_default())
            }
        }
    }
}

/// A heading and what stands below it, until the next heading of any level.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// The number of the heading's line.
    pub(super) line: usize,
    /// The heading with its `#`; empty for what stands before the first one.
    pub(super) heading: String,
    pub(super) blocks: Vec<Block>,
    /// All lines that are not in fences, the heading among them.
    prose: String,
}

impl Section {
    /// 1 for `#`, 2 for `##` …
    pub(super) fn level(&self) -> usize {
        self.heading.chars().take_while(|&c| c == '#').count()
    }

    /// Where its links and pictures lead, sorted: languages have an order of words of their own.
    pub(super) fn targets(&self) -> Vec<String> {
        let mut targets = links::targets(&self.prose);
        targets.sort();
        targets
    }

    /// What no translation changes: code in the prose, and figures.
    pub(super) fn facts(&self) -> BTreeSet<String> {
        let (mut facts, mut words) = (BTreeSet::new(), String::new());
        for (place, part) in self.prose.split('`').enumerate() {
            if place % 2 == 1 {
                facts.insert(format!("`{part}`"));
            } else {
                words.push_str(part);
                words.push(' ');
            }
        }
        let is_figure = |c: char| c.is_ascii_digit() || c == '.' || c == ',';
        let figures = without_targets(&words);
        let figures = figures.split(|c| !is_figure(c)).map(|text| text.trim_matches(['.', ',']));
        facts.extend(figures.filter(|text| !text.is_empty()).map(str::to_owned));
        facts
    }
}

fn without_targets(prose: &str) -> String {
    let mut parts = prose.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + " " + part.split_once(')').map_or(part, |(_, after)| after))
}

/// What the lines of a document are read into.
#[derive(Default)]
struct Reader {
    done: Vec<Section>,
    section: Section,
    /// The last line belongs to a block that the next one may continue.
    is_in_block: bool,
    /// A fence is open, and the last block is its code.
    is_in_fence: bool,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        let text = line.trim();
        if let Some(info) = text.strip_prefix("```") {
            if !self.is_in_fence {
                self.section.blocks.push(Block::Code { info: info.to_owned(), text: String::new() });
            }
            self.is_in_fence = !self.is_in_fence;
            self.is_in_block = false;
        } else if self.is_in_fence {
            if let Some(Block::Code { text, .. }) = self.section.blocks.last_mut() {
                text.push_str(line);
                text.push('\n');
            }
        } else if line.starts_with('#') {
            self.done.push(std::mem::take(&mut self.section));
            self.section.line = number;
            self.section.heading = text.to_owned();
            self.prose(line, false);
        } else if text.is_empty() {
            self.is_in_block = false;
        } else {
            self.block(text);
            self.prose(line, true);
        }
    }

    fn block(&mut self, text: &str) {
        let blocks = &mut self.section.blocks;
        if text.starts_with('|') {
            match blocks.last_mut() {
                Some(Block::Table { rows, .. }) if self.is_in_block => {
                    *rows += usize::from(!text.starts_with("|-"));
                }
                _ => {
                    let bars = text.replace("\\|", "").matches('|').count();
                    blocks.push(Block::Table { rows: 1, columns: bars - 1 });
                }
            }
        } else if is_item(text) {
            blocks.push(Block::Item);
        } else if !self.is_in_block {
            blocks.push(Block::Paragraph);
        }
    }

    fn prose(&mut self, line: &str, is_in_block: bool) {
        self.section.prose.push_str(line);
        self.section.prose.push('\n');
        self.is_in_block = is_in_block;
    }
}

fn is_item(text: &str) -> bool {
    let after_number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    text.starts_with("- ") || (after_number.len() < text.len() && after_number.starts_with(". "))
}

/// The sections of a document, first what stands before its first heading.
pub(super) fn sections(page: &str) -> Vec<Section> {
    let mut reader = Reader::default();
    for (place, line) in page.lines().enumerate() {
        reader.line(place + 1, line);
    }
    reader.done.push(reader.section);
    reader.done
}

#[test]
fn document_is_read_into_sections_with_their_blocks() {
    let page = "# A\n\nText with `x 7`, 1,5 and\n2. [b](c#9)\n\n- one\n  more\n- two\n\n   ```sh\n   # run\n   ```\n\
                ## B\n|a|b\\|c|\n|-|-|\n|1|2|\n";
    let sections = sections(page);
    let [before, first, second] = &sections[..] else { panic!("{sections:?}") };
    assert!(before.heading.is_empty() && before.blocks.is_empty());
    let code = Block::Code { info: "sh".to_owned(), text: "   # run\n".to_owned() };
    assert_eq!(first.blocks, [Block::Paragraph, Block::Item, Block::Item, Block::Item, code]);
    assert_eq!(first.targets(), ["c#9"]);
    assert_eq!(first.facts().into_iter().collect::<Vec<_>>(), ["1,5", "2", "`x 7`"]);
    assert_eq!((second.line, second.level(), second.heading.as_str()), (13, 2, "## B"));
    assert_eq!(second.blocks, [Block::Table { rows: 2, columns: 2 }]);
}
