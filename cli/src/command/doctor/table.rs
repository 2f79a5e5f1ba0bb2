//! Findings for a person: grouped, a line each, with what would mend them below.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::finding::{Finding, Group, State};
use crate::output::{Output, Style};

/// Columns before a line is broken where nobody told the terminal's width.
const USUAL_WIDTH: usize = 100;
/// Narrower than this, breaking lines makes them harder to read, not easier.
const LEAST_TEXT: usize = 30;

/// Draws all findings, then counts them.
pub(super) fn render(findings: &[Finding], width: Option<usize>, output: &Output) -> String {
    let width = width.unwrap_or(USUAL_WIDTH);
    let names = findings.iter().map(|finding| finding.check.to_string().width()).max().unwrap_or(0);
    let mut text = String::new();
    for group in Group::ALL {
        let members: Vec<&Finding> =
            findings.iter().filter(|finding| finding.check.group() == group).collect();
        if members.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{}", output.styled(Style::Strong, group.heading()));
        for finding in members {
            row(&mut text, finding, names, width, output);
        }
        text.push('\n');
    }
    text.push_str(&summary(findings, output));
    text
}

fn row(text: &mut String, finding: &Finding, names: usize, width: usize, output: &Output) {
    let (mark, style) = match finding.state {
        State::Ok => ("ok     ", Style::Good),
        State::Warning => ("warning", Style::Warning),
        State::Problem => ("PROBLEM", Style::Bad),
        State::Skipped => ("skipped", Style::Faint),
    };
    let indent = 2 + mark.len() + 2 + names + 2;
    let room = width.saturating_sub(indent + 1).max(LEAST_TEXT);
    let found = match &finding.subject {
        Some(subject) => format!("{subject}: {}", finding.found),
        None => finding.found.clone(),
    };
    let mut lines = wrap(&found, room).into_iter();
    let first = lines.next().unwrap_or_default();
    let name = finding.check.to_string();
    let blank = " ".repeat(names - name.width());
    let _ = writeln!(text, "  {}  {name}{blank}  {first}", output.styled(style, mark));
    let indent = " ".repeat(indent);
    for line in lines {
        let _ = writeln!(text, "{indent}{line}");
    }
    for line in finding.mend.iter().flat_map(|mend| wrap(&format!("> {mend}"), room)) {
        let _ = writeln!(text, "{indent}{}", output.styled(Style::Strong, line));
    }
}

fn summary(findings: &[Finding], output: &Output) -> String {
    let of = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (ok, warnings, problems) = (of(State::Ok), of(State::Warning), of(State::Problem));
    let style = match (problems, warnings) {
        (0, 0) => Style::Good,
        (0, _) => Style::Warning,
        _ => Style::Bad,
    };
    let plural = |number: usize, word: &str| {
        let end = if number == 1 { "" } else { "s" };
        format!("{number} {word}{end}")
    };
    let counts = format!(
        "{ok} ok, {}, {}, {} skipped",
        plural(warnings, "warning"),
        plural(problems, "problem"),
        of(State::Skipped)
    );
    format!("{}\n", output.styled(style, counts))
}

/// Breaks at blanks; a word that is longer than a line, such as a command's argument, stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("{}{word}", if text.starts_with("> ") { "  " } else { "" }));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Check, *};

    #[test]
    fn groups_stand_together_and_what_mends_stands_below() {
        let findings = [
            Finding::ok(Check::Disk, "12 GB free"),
            Finding::warning(Check::IcmpV4, "closed", "open it"),
            Finding::problem(Check::Catalogs, "no answer", "start it").about("file:a"),
        ];
        let output = Output::new(false, false, true);
        assert_eq!(
            render(&findings, None, &output),
            "Network\n  warning  icmp-v4   closed\n                     > open it\n\n\
             Catalogs and nodes\n  PROBLEM  catalogs  file:a: no answer\n                     > start it\n\n\
             This machine\n  ok       disk      12 GB free\n\n1 ok, 1 warning, 1 problem, 0 skipped\n"
        );
    }

    #[test]
    fn lines_break_at_blanks_and_commands_stay_whole() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("a verylongword b", 5), ["a", "verylongword", "b"]);
        assert_eq!(wrap("> ab cd", 5), ["> ab", "  cd"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
