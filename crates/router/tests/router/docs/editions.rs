//! A page `X.md` that has a Chinese edition, `X.zh-CN.md`, has in it the same sections with the same
//! blocks, code, links and figures, one for one.

use std::path::Path;

use crate::docs::sections::{Block, Section, sections};
use crate::docs::{links, pages};

/// How the names of Chinese editions end.
const ENDING: &str = ".zh-CN.md";

/// Pages that must be there in Chinese; others may.
const NEEDED: [&str; 2] = ["README.zh-CN.md", "docs/quickstart.zh-CN.md"];

/// A page in one language; its path is from the top of the repository.
struct Edition {
    path: String,
    text: String,
}

impl Edition {
    fn read(path: &str) -> Self {
        Self { path: path.to_owned(), text: pages::read(path) }
    }

    /// The path of what a link of this page leads to.
    fn join(&self, path: &str) -> String {
        Path::new(&self.path).with_file_name(path).display().to_string()
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

struct Pair {
    english: Edition,
    chinese: Edition,
}

impl Pair {
    /// The text of a page, one of this pair or another.
    fn text(&self, path: &str) -> String {
        let own = [&self.english, &self.chinese].into_iter().find(|edition| edition.path == path);
        own.map_or_else(|| pages::read(path), |edition| edition.text.clone())
    }

    /// A link's target as English pages write it: Chinese pages and headings have names of their own.
    fn in_english(&self, from: &Edition, target: &str) -> String {
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let page = if path.is_empty() { from.path.clone() } else { from.join(path) };
        let Some(stem) = page.strip_suffix(ENDING) else { return target.to_owned() };
        let path = path.replace(ENDING, ".md");
        if anchor.is_empty() {
            return path;
        }
        let of_heading = links::anchors(&self.text(&page)).iter().position(|known| known == anchor);
        let anchors = links::anchors(&self.text(&format!("{stem}.md")));
        let anchor = of_heading.and_then(|place| anchors.get(place)).map_or(anchor, String::as_str);
        format!("{path}#{anchor}")
    }

    fn targets(&self, from: &Edition, section: &Section) -> Vec<String> {
        let mut targets: Vec<String> =
            section.targets().iter().map(|target| self.in_english(from, target)).collect();
        targets.sort();
        targets
    }

    /// Links of one of the sections that the other has not.
    fn links_apart(&self, english: &Section, chinese: &Section) -> Vec<String> {
        let mut found = Vec::new();
        let mut only_chinese = self.targets(&self.chinese, chinese);
        for target in self.targets(&self.english, english) {
            match only_chinese.iter().position(|other| *other == target) {
                Some(place) => drop(only_chinese.remove(place)),
                None => found.push(format!("the Chinese one has no link to {target}")),
            }
        }
        found.extend(only_chinese.iter().map(|target| format!("the English one has no link to {target}")));
        found
    }

    fn faults_of_sections(&self) -> Vec<String> {
        let (english, chinese) = (sections(&self.english.text), sections(&self.chinese.text));
        if english.len() != chinese.len() {
            return self.lacks(&english, &chinese);
        }
        let mut faults = Vec::new();
        for (english, chinese) in english.iter().zip(&chinese) {
            let place = format!("{} and {}", at(&self.english, english), at(&self.chinese, chinese));
            let mut apart = differences(english, chinese);
            apart.extend(self.links_apart(english, chinese));
            faults.extend(apart.iter().map(|fault| format!("{place}: {fault}")));
        }
        faults
    }

    /// Which sections one edition lacks. Those that are alike before and after are left out, so that
    /// what is missing is named and not what comes after it.
    fn lacks(&self, english: &[Section], chinese: &[Section]) -> Vec<String> {
        let alike = |(one, other): &(&Section, &Section)| {
            differences(one, other).is_empty() && paths(one) == paths(other)
        };
        let before = english.iter().zip(chinese).take_while(alike).count();
        let (english, chinese) = (&english[before..], &chinese[before..]);
        let after = english.iter().rev().zip(chinese.iter().rev()).take_while(alike).count();
        let english = &english[..english.len() - after];
        let chinese = &chinese[..chinese.len() - after];
        let list = |edition: &Edition, sections: &[Section]| {
            let lines: Vec<String> = sections.iter().map(|section| at(edition, section)).collect();
            lines.join(", ")
        };
        let (here, there) = (list(&self.english, english), list(&self.chinese, chinese));
        vec![match (english, chinese) {
            (_, []) => format!("{} lacks sections: {here}", self.chinese.path),
            ([], _) => format!("{} lacks sections: {there}", self.english.path),
            _ => format!("there are not as many sections here, {here}, as there, {there}"),
        }]
    }

    /// Links of the Chinese page to English ones that have a Chinese edition.
    fn english_links(&self) -> Vec<String> {
        let targets = links::targets(&self.chinese.text);
        let paths = targets.iter().map(|target| target.split('#').next().unwrap_or_default());
        let leads_to_english = |path: &&str| {
            let edition = path.strip_suffix(".md").map(|stem| self.chinese.join(&format!("{stem}{ENDING}")));
            *path != self.english.name() && edition.is_some_and(|page| pages::root().join(page).exists())
        };
        let fault = |path| format!("{}: link to the Chinese edition of {path}", self.chinese.path);
        paths.filter(leads_to_english).map(fault).collect()
    }

    /// The line below the title that leads from each edition to the other.
    fn faults_of_the_line_between(&self) -> Vec<String> {
        let ways = [(&self.english, "中文", &self.chinese), (&self.chinese, "English", &self.english)];
        let fault = |(from, word, to): (&Edition, &str, &Edition)| {
            let line = format!("[{word}]({})", to.name());
            (from.text.lines().nth(2) != Some(line.as_str()))
                .then(|| format!("{}:3: expected {line}", from.path))
        };
        ways.into_iter().filter_map(fault).collect()
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.faults_of_the_line_between();
        faults.extend(self.faults_of_sections());
        faults.extend(self.english_links());
        faults
    }
}

/// What is in one of the sections and not in the other, but for links.
fn differences(english: &Section, chinese: &Section) -> Vec<String> {
    let mut found = Vec::new();
    if english.level() != chinese.level() {
        found.push(format!("a heading of level {} and one of {}", english.level(), chinese.level()));
    }
    found.extend(blocks_apart(&english.blocks, &chinese.blocks));
    let missing = &english.facts() - &chinese.facts();
    found.extend(missing.iter().map(|fact| format!("the Chinese one lacks {fact}")));
    found
}

/// The pages that a section's links lead to, under the names of the English ones.
fn paths(section: &Section) -> Vec<String> {
    let path = |target: &String| target.split('#').next().unwrap_or_default().replace(ENDING, ".md");
    let mut paths: Vec<String> = section.targets().iter().map(path).collect();
    paths.sort();
    paths
}

/// A section for a message.
fn at(edition: &Edition, section: &Section) -> String {
    let heading = if section.heading.is_empty() { "what is before the title" } else { &section.heading };
    format!("{}:{} `{heading}`", edition.path, section.line)
}

/// How the blocks of two sections differ, at the first place where they do.
fn blocks_apart(english: &[Block], chinese: &[Block]) -> Option<String> {
    let place = (0..english.len().max(chinese.len())).find(|&at| english.get(at) != chinese.get(at))?;
    let (english, chinese) = (english.get(place), chinese.get(place));
    if let (Some(Block::Code { info, text }), Some(Block::Code { info: other, text: theirs })) =
        (english, chinese)
        && info == other
    {
        let lines = text.lines().zip(theirs.lines());
        let apart = lines.enumerate().find(|(_, (one, other))| one != other);
        let what = apart.map_or("one has more lines".to_owned(), |(at, (one, other))| {
            format!("line {} of it is `{one}` and `{other}`", at + 1)
        });
        return Some(format!("the block of `{info}` (block {}) is another: {what}", place + 1));
    }
    let tell = |block: Option<&Block>| block.map_or("nothing".to_owned(), Block::to_string);
    Some(format!("block {} is {} and {}", place + 1, tell(english), tell(chinese)))
}

#[test]
fn chinese_editions_follow_the_english_pages_block_for_block() {
    let mut found = pages::documents();
    found.extend(["deploy", "plugins", "examples"].iter().flat_map(|folder| pages::files(folder, ".md")));
    let within =
        |path: &Path| path.strip_prefix(pages::root()).expect("of the repository").display().to_string();
    let mut editions: Vec<String> = found.iter().map(|path| within(path)).collect();
    editions.retain(|path| path.ends_with(ENDING));
    let mut faults = Vec::new();
    for path in NEEDED.iter().filter(|path| !editions.iter().any(|edition| edition == *path)) {
        faults.push(format!("{path} is missing"));
    }
    for path in &editions {
        let english = path.replace(ENDING, ".md");
        if pages::root().join(&english).exists() {
            let pair = Pair { english: Edition::read(&english), chinese: Edition::read(path) };
            faults.extend(pair.faults());
        } else {
            faults.push(format!("{path} is an edition of {english}, which is missing"));
        }
    }
    assert!(faults.is_empty(), "write in one edition what the other has:\n{}", faults.join("\n"));
}

const ENGLISH: &str = "# Page

[中文](page.zh-CN.md)

See [the end](#end): 5 ms, `flag`.

## Use
```bash
run
```

| a | b |
|---|---|
| c | d |

## End
- one
- [two](operations.md#metrics) and [start](../README.md#run-it)
";

const CHINESE: &str = "# 页

[English](page.md)

见[末尾](#末尾)：5 毫秒，`flag`。

## 使用
```bash
run
```

| 甲 | 乙 |
|---|---|
| 丙 | 丁 |

## 末尾
- 一
- [运行](../README.zh-CN.md#运行)和[二](operations.md#metrics)
";

fn faults_with(english: &str, chinese: &str) -> Vec<String> {
    let edition = |path: &str, text: &str| Edition { path: path.to_owned(), text: text.to_owned() };
    Pair { english: edition("docs/page.md", english), chinese: edition("docs/page.zh-CN.md", chinese) }
        .faults()
}

#[test]
fn whatever_an_edition_lacks_is_found_and_named() {
    assert_eq!(faults_with(ENGLISH, CHINESE), [""; 0]);
    let use_section =
        &CHINESE[CHINESE.find("## 使用").expect("there")..CHINESE.find("## 末尾").expect("there")];
    let cases = [
        ("[English](page.md)", "[English](page.md) ", "docs/page.zh-CN.md:3: expected [English](page.md)"),
        (use_section, "", "docs/page.zh-CN.md lacks sections: docs/page.md:7 `## Use`"),
        ("## 末尾\n", "## 多\n\n## 末尾\n", "docs/page.md lacks sections: docs/page.zh-CN.md:16 `## 多`"),
        ("## 使用", "### 使用", "a heading of level 2 and one of 3"),
        (
            "run\n",
            "run it\n",
            "`## 使用`: the block of `bash` (block 1) is another: line 1 of it is `run` and `run it`",
        ),
        ("run\n", "run\nrun\n", "one has more lines"),
        ("```bash", "```sh", "block 1 is a block of `bash` that begins `run` and a block of `sh`"),
        ("| 丙 | 丁 |\n", "", "a table of 2 rows and 2 columns and a table of 1 rows and 2 columns"),
        ("- 一\n", "", "block 2 is a point of a list and nothing"),
        ("operations.md#metrics", "fleet.md", "the Chinese one has no link to operations.md#metrics"),
        ("(#末尾)", "(#使用)", "the English one has no link to #use"),
        ("zh-CN.md#运行", "zh-CN.md#嵌入", "the English one has no link to ../README.md#embed-it"),
        ("README.zh-CN.md#运行", "README.md#run-it", "link to the Chinese edition of ../README.md"),
        ("5 毫秒", "6 毫秒", "the Chinese one lacks 5"),
        ("`flag`", "`flags`", "the Chinese one lacks `flag`"),
    ];
    for (what, instead, expected) in cases {
        assert!(CHINESE.contains(what), "nothing to break: {what}");
        let faults = faults_with(ENGLISH, &CHINESE.replace(what, instead));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{what} as {instead}: {faults:?}");
    }
}
