//! All cases, and the running of them.

use crate::trial::conformance::kit_case::{KitBench, KitCase, KitFinding};
use crate::trial::conformance::{
    fleet_cases, instance_cases, outcome_cases, pair_cases, request_cases, signal_cases, table_cases,
};

/// All cases, in the order in which they run: what is wrong early makes what comes later wrong.
pub(crate) fn cases() -> Vec<&'static KitCase> {
    let groups: [&'static [KitCase]; 7] = [
        &fleet_cases::CASES,
        &signal_cases::CASES,
        &request_cases::CASES,
        &table_cases::CASES,
        &outcome_cases::CASES,
        &pair_cases::CASES,
        &instance_cases::CASES,
    ];
    groups.into_iter().flatten().collect()
}

/// Runs the cases whose name has this text in it.
pub(crate) fn run_kit(bench: &KitBench<'_>, filter: &str) -> Vec<KitFinding> {
    cases().into_iter().filter(|case| case.name.contains(filter)).map(|case| case.find(bench)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_case_has_a_name_of_its_own_and_a_sentence() {
        let names: BTreeSet<&str> = cases().iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().len());
        for case in cases() {
            assert!(case.name.contains('/') && case.remedy.ends_with('.'), "{}", case.name);
        }
    }
}
