//! Plots as inline SVG, drawn with the page's style: classes `s0` to `s5` are its series.

use std::fmt::Write;

// As wide as a telephone shows it, so that its text can be read there; wider windows show two beside
// each other.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// Colours of series, which then repeat.
const COLOURS: usize = 6;
/// Kinds of dashes that tell apart what has the same colour.
const DASHES: usize = 3;
/// The upper end of a scale of shares.
const MOST_NINES: f64 = 4.0;

/// How numbers become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// As they are.
    Linear,
    /// By their logarithm.
    Log,
    /// Shares from 0 to 1: 90 %, 99 %, 99.9 % are equally far from each other.
    Nines,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    label: &'static str,
}

impl Axis {
    /// From zero to `high`.
    pub fn linear(high: f64, label: &'static str) -> Self {
        Self { scale: Scale::Linear, low: 0.0, high: if high > 0.0 { high } else { 1.0 }, label }
    }

    /// Around these numbers, from and to 1, 2 or 5 times a power of ten; those that are not above 0
    /// are read over.
    pub fn log(numbers: impl Iterator<Item = f64> + Clone, label: &'static str) -> Self {
        let above = numbers.filter(|number| *number > 0.0);
        let (low, high) = (above.clone().fold(f64::INFINITY, f64::min), above.fold(0.0, f64::max));
        if high <= 0.0 {
            return Self { scale: Scale::Log, low: 0.0, high: 1.0, label };
        }
        let low = round_numbers(low / 10.0, low).last().unwrap_or(low).log10();
        let high = round_step(high).log10();
        Self { scale: Scale::Log, low, high: high.max(low + 0.5), label }
    }

    /// Shares up to 99.99 %.
    pub fn nines(label: &'static str) -> Self {
        Self { scale: Scale::Nines, low: 0.0, high: MOST_NINES, label }
    }

    /// Where a number is, 0 to 1.
    fn place(&self, number: f64) -> f64 {
        let scaled = match self.scale {
            Scale::Linear => number,
            Scale::Log => number.max(f64::MIN_POSITIVE).log10(),
            Scale::Nines => -(1.0 - number).max(1e-9).log10(),
        };
        ((scaled - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Numbers that are written at the axis.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999]
                .map(|share| (share, format!("{} %", trimmed(share * 100.0, 2))))
                .to_vec(),
            Scale::Log => {
                let (low, high) = (10_f64.powf(self.low), 10_f64.powf(self.high));
                // Over many powers of ten there is no room for more than these.
                let is_wide = self.high - self.low > 3.0;
                let is_power = |number: &f64| (number.log10() - number.log10().round()).abs() < 1e-6;
                let numbers = round_numbers(low, high).filter(|number| !is_wide || is_power(number));
                numbers.map(|number| (number, trimmed(number, 3))).collect()
            }
            Scale::Linear => {
                let step = round_step(self.high / 5.0);
                steps(0.0, self.high, step).map(|number| (number, trimmed(number, 3))).collect()
            }
        }
    }
}

/// A line through points.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is, for a pointer that rests on it.
    pub name: String,
    /// Where it goes.
    pub points: Vec<(f64, f64)>,
}

/// A vertical line.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Where it is.
    pub x: f64,
    /// `swap`, `refused` or `round`.
    pub class: &'static str,
    /// Shown when a pointer rests on it.
    pub title: String,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// From left to right.
    pub x: Axis,
    /// From below.
    pub y: Axis,
    /// Lines, in the colours of the page.
    pub series: Vec<Series>,
    /// Number of the first series' colour.
    pub first_colour: usize,
    /// Vertical lines.
    pub marks: Vec<Mark>,
}

impl Plot {
    /// The plot as an element of a page.
    pub fn render(&self) -> String {
        let mut out = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">"#);
        self.push_axes(&mut out);
        for mark in &self.marks {
            let (x, bottom) = (self.at_x(mark.x), HEIGHT - BOTTOM);
            let _ = write!(
                out,
                r#"<line class="{}" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom}"><title>{}</title></line>"#,
                mark.class,
                escaped(&mark.title)
            );
        }
        for (number, series) in self.series.iter().enumerate() {
            let class = line_class(self.first_colour + number);
            let _ = write!(out, r#"<polyline class="{class}" points=""#);
            for (x, y) in &series.points {
                let _ = write!(out, "{:.1},{:.1} ", self.at_x(*x), self.at_y(*y));
            }
            let _ = write!(out, r#""><title>{}</title></polyline>"#, escaped(&series.name));
        }
        out.push_str("</svg>\n");
        out
    }

    fn push_axes(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (number, text) in self.x.ticks() {
            let x = self.at_x(number);
            let _ = write!(
                out,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom}"/><text x="{x:.1}" y="{}" text-anchor="middle">{text}</text>"#,
                bottom + 16.0
            );
        }
        for (number, text) in self.y.ticks() {
            let y = self.at_y(number);
            let _ = write!(
                out,
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/><text x="{}" y="{:.1}" text-anchor="end">{text}</text>"#,
                LEFT - 6.0,
                y + 4.0
            );
        }
        let middle = f64::midpoint(LEFT, right);
        let _ = write!(
            out,
            r#"<text x="{middle}" y="{}" text-anchor="middle">{}</text>"#,
            HEIGHT - 8.0,
            self.x.label
        );
        let middle = f64::midpoint(TOP, bottom);
        let _ = write!(
            out,
            r#"<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{}</text>"#,
            self.y.label
        );
    }

    fn at_x(&self, number: f64) -> f64 {
        LEFT + self.x.place(number) * (WIDTH - LEFT - RIGHT)
    }

    fn at_y(&self, number: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(number) * (HEIGHT - TOP - BOTTOM)
    }
}

/// The class of a line: its colour, and beyond the last one dashes of the same colours.
pub(crate) fn line_class(number: usize) -> String {
    let colour = number % COLOURS;
    match number / COLOURS {
        0 => format!("s{colour}"),
        round => format!("s{colour} dash{}", (round - 1) % DASHES),
    }
}

/// Text as the content of an element or a quoted attribute.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// `low`, `low + step` … up to `high`.
fn steps(low: f64, high: f64, step: f64) -> impl Iterator<Item = f64> {
    // Axes have few ticks; the bound only stops a step of nothing.
    (0..64)
        .map(move |number| low + f64::from(number) * step)
        .take_while(move |number| *number <= high * 1.0001)
}

/// 1, 2 and 5 times powers of ten from `low` to `high`, which are above 0.
fn round_numbers(low: f64, high: f64) -> impl Iterator<Item = f64> {
    let first = 10_f64.powf(low.log10().floor());
    // The factor makes up for what rounding errors take away at the ends.
    (0..64)
        .flat_map(move |power| [1.0, 2.0, 5.0].map(|factor| factor * first * 10_f64.powi(power)))
        .skip_while(move |number| *number < low / 1.000_001)
        .take_while(move |number| *number <= high * 1.000_001)
}

/// 1, 2 or 5 times a power of ten, at least this.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least)
        .unwrap_or(power)
}

/// A number without zeros at its end.
fn trimmed(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_place_numbers_by_their_scale() {
        let log = Axis::log([0.0, 1.5, 900.0].into_iter(), "");
        assert!(log.low.abs() < 1e-9 && (log.high - 3.0).abs() < 1e-9, "{log:?}");
        assert!((log.place(10.0) - 1.0 / 3.0).abs() < 1e-9);
        let nines = Axis::nines("");
        assert!((nines.place(0.99) - 0.5).abs() < 1e-9);
        assert_eq!((nines.place(0.0), nines.place(1.0)), (0.0, 1.0));
        assert_eq!(Axis::linear(50.0, "").place(25.0), 0.5);
    }

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        let texts = |axis: Axis| axis.ticks().into_iter().map(|tick| tick.1).collect::<Vec<_>>();
        assert_eq!(texts(Axis::linear(47.0, "")), ["0", "10", "20", "30", "40"]);
        assert_eq!(texts(Axis::log([0.6, 20.0].into_iter(), "")), ["0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(texts(Axis::log([0.02, 300.0].into_iter(), "")), ["0.1", "1", "10", "100"]);
        assert_eq!(texts(Axis::nines("")).last().map(String::as_str), Some("99.99 %"));
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let plot = Plot {
            x: Axis::linear(1.0, "x"),
            y: Axis::linear(1.0, "y"),
            series: vec![Series { name: "<script>'".to_owned(), points: vec![(0.5, 0.5)] }],
            first_colour: 7,
            marks: vec![Mark { x: 0.5, class: "swap", title: "\"&".to_owned() }],
        };
        let svg = plot.render();
        assert!(
            svg.contains("&lt;script&gt;&#39;") && svg.contains("&quot;&amp;") && !svg.contains("<script")
        );
        assert!(svg.contains(r#"class="s1 dash0" points="261.0,129.0 ""#), "{svg}");
    }
}
