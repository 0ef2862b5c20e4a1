//! A calibration as the file of its model, which says where each number is from, and as a table for people.

use std::fmt::Write;

use toml::Table;

use crate::calibration::calibrated_model::{CalibratedModel, CalibratedNumber, NumberOrigin};

/// Half of what was measured is within this share of the fit where nothing disturbs it: 2.5 to 6.5 % of vLLM
/// alone on two cores, 16 to 58 % of one that had to share them.
const STEADY: f64 = 0.1;

impl CalibratedModel {
    /// The model as TOML. `about` is said first, in comments.
    pub fn to_toml(&self, about: &[String]) -> String {
        let mut text = String::new();
        for line in about.iter().map(String::as_str).chain(self.doubt()) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# {line}");
        }
        for (value, number) in self.rows() {
            let comment = number.said();
            let _ = writeln!(text, "{} = {value} # {comment}", number.key);
        }
        text
    }

    /// The numbers one below the other, and how far off the fits are.
    pub fn table(&self) -> String {
        let rows = self.rows();
        let width = rows.iter().map(|(value, _)| value.len()).max().unwrap_or_default();
        let mut text = String::new();
        for (value, number) in rows {
            let _ = writeln!(text, "{:<26}{value:>width$}  {}", number.key, number.said());
        }
        let fits = [
            ("steps of streams", self.decode_off),
            ("prompts alone", self.prompt_off),
            ("prompts that come together", self.burst_off),
        ];
        for (what, off) in fits {
            let _ = match off {
                Some(off) => writeln!(
                    text,
                    "{what}: half of them are within {:.1} % of what these numbers say",
                    off * 100.0
                ),
                None => writeln!(text, "{what}: not measured"),
            };
        }
        if let Some(doubt) = self.doubt() {
            let _ = writeln!(text, "{doubt}");
        }
        text
    }

    /// What is to be said of measurements that do not agree with one another.
    fn doubt(&self) -> Option<&'static str> {
        let off = [self.decode_off, self.prompt_off, self.burst_off].into_iter().flatten();
        (off.fold(0.0, f64::max) > STEADY).then_some(
            "Do not trust these numbers: equal requests took unlike times. Something else took the machine's time, or \
             the engine has fewer cores than it keeps busy; measure it again where nothing does.",
        )
    }

    /// Each number as a file has it.
    fn rows(&self) -> Vec<(String, &CalibratedNumber)> {
        // A model is numbers and words, which are a table always.
        let values = Table::try_from(&self.model).unwrap_or_default();
        self.numbers.iter().filter_map(|number| Some((values.get(number.key)?.to_string(), number))).collect()
    }
}

impl CalibratedNumber {
    fn said(&self) -> String {
        let origin = match (self.origin, self.error) {
            (NumberOrigin::Measured, Some(error)) => format!("± {error}"),
            (NumberOrigin::Measured, None) => "measured".to_owned(),
            (NumberOrigin::Told, _) => "told by the engine".to_owned(),
            (NumberOrigin::Default, _) => "the default".to_owned(),
        };
        if self.note.is_empty() { origin } else { format!("{origin}: {}", self.note) }
    }
}
