//! The stages of a connect as a waterfall: when each began, how long it took, and in whose company.

use crate::{
    command::nodes::{
        bar::Bars,
        probe::table::Look,
        table::{Align, Cell, Narrow, Table},
    },
    output::Style,
    timeline::record::{LastConnect, StageTime},
};

/// Stages shorter than this, in milliseconds, are not shown: they are none to a person.
const LEAST_MS: f64 = 0.05;
/// Width of the bars where the terminal has room for more than 80 columns, and where not.
const WIDE: usize = 48;
const USUAL: usize = 28;
const NARROW: usize = 12;

/// What gives way on a narrow terminal.
const STEPS: [Narrow; 4] =
    [Narrow::Shorten("NODE", 12), Narrow::Drop("NODE"), Narrow::Drop("START"), Narrow::Drop(" ")];

/// The table. Its last row is the sum.
pub(super) fn waterfall(last: &LastConnect, look: Look) -> Table {
    let mut table = Table::new(&[
        ("STAGE", Align::Left),
        ("NODE", Align::Left),
        ("START", Align::Right),
        ("MS", Align::Right),
        ("RTTS", Align::Right),
        (" ", Align::Left),
    ]);
    let width = match look.columns {
        Some(columns) if columns < 70 => NARROW,
        Some(columns) if columns >= 110 => WIDE,
        _ => USUAL,
    };
    let bars = Bars::up_to(last.total_ms, width, look.unicode);
    let ended_in = last.failure.as_ref().map(|failure| failure.stage.as_str());
    let longest = last.stages.iter().map(|stage| stage.duration_ms).fold(0.0, f64::max);
    let count = last.stages.len();
    for (index, stage) in last.stages.iter().enumerate() {
        let is_last = index + 1 == count;
        if stage.duration_ms < LEAST_MS && !(is_last && ended_in.is_some()) {
            continue;
        }
        let style = match (is_last && ended_in.is_some(), stage.duration_ms >= longest) {
            (true, _) => Some(Style::Bad),
            (false, true) => Some(Style::Strong),
            (false, false) => None,
        };
        let bar = bars.segment(stage.start_ms, stage.duration_ms);
        table.row(style, cells(stage, bar, last.is_worth_round_trips()));
    }
    let total = [last.total_ms].map(figure).concat();
    let counts = last.is_worth_round_trips();
    let rtts = last.total_rtts.filter(|_| counts).map(figure).unwrap_or_default();
    let sum = ["total".to_owned(), String::new(), String::new(), total, rtts, String::new()];
    table.row(Some(Style::Faint), sum.into());
    table.within(look.columns, &STEPS)
}

fn cells(stage: &StageTime, bar: String, counts: bool) -> Vec<Cell> {
    vec![
        stage.stage.clone().into(),
        stage.node.clone().unwrap_or_default().into(),
        figure(stage.start_ms).into(),
        figure(stage.duration_ms).into(),
        stage.rtts.filter(|_| counts).map(figure).unwrap_or_default().into(),
        bar.into(),
    ]
}

fn figure(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::*;
    use crate::{
        output::Output,
        timeline::record::{Ending, Outcome},
    };

    fn last(failure: Option<Ending>) -> LastConnect {
        let stage = |stage: &str, start_ms: f64, duration_ms: f64| StageTime {
            stage: stage.into(),
            node: (stage == "seat").then(|| "fra-1".into()),
            start_ms,
            duration_ms,
            rtts: Some(duration_ms / 10.0),
        };
        LastConnect {
            version: 1,
            time: 0,
            outcome: Outcome::Connected,
            node: Some("fra-1".into()),
            region: None,
            strategy: "responsive".into(),
            why: None,
            rtt_ms: Some(10.0),
            total_ms: 100.0,
            total_rtts: Some(10.0),
            stages: vec![
                stage("probe", 0.0, 50.0),
                stage("pick", 50.0, 0.01),
                stage("tls", 50.0, 30.0),
                stage("seat", 80.0, 20.0),
            ],
            failed_over: Vec::new(),
            failure,
            choice: None,
            nodes_left_out: 0,
        }
    }

    fn text(last: &LastConnect, columns: usize) -> String {
        let look = Look { columns: Some(columns), unicode: false, explains: true };
        waterfall(last, look).render(&Output::new(false, false, true))
    }

    #[test]
    fn bars_fall_from_one_stage_to_the_next() {
        let text = text(&last(None), 60);
        assert_eq!(
            text,
            "\
STAGE  NODE   START     MS  RTTS
probe           0.0   50.0   5.0  ######
tls            50.0   30.0   3.0        ####
seat   fra-1   80.0   20.0   2.0           ###
total                100.0  10.0
"
        );
    }

    #[test]
    fn the_stage_of_a_failure_is_shown_however_short() {
        let ending = |stage: &str| Ending {
            stage: stage.into(),
            code: "full".into(),
            exit: 10,
            message: "full".into(),
        };
        let mut last = last(Some(ending("pick")));
        last.stages.truncate(2);
        assert!(text(&last, 80).contains("pick"));
    }

    #[test]
    fn a_node_on_this_machine_is_not_measured_in_its_round_trips() {
        let mut last = last(None);
        last.rtt_ms = Some(1.0);
        assert!(text(&last, 80).contains("RTTS"));
        last.rtt_ms = Some(0.999);
        assert!(!text(&last, 80).contains("RTTS"));
    }

    #[test]
    fn no_terminal_is_too_narrow() {
        for columns in [30, 40, 60, 80, 120] {
            let text = text(&last(None), columns);
            assert!(text.lines().all(|line| line.width() <= columns), "{columns}: {text}");
        }
    }
}
