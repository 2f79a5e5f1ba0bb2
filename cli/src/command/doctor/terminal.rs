//! The terminal: its size, characters and colours, and whether it draws pictures.
//!
//! A terminal tells the last by itself: asked with kitty's graphics query and for its primary attributes, which every
//! terminal answers, it answers the first only where it knows it. The order of the answers is that of the questions.

mod query;

use std::{
    env,
    io::{self, IsTerminal as _},
};

use serde_json::json;

use self::query::{Answer, ask};
use super::finding::{Check, Finding};

/// Smaller, and the viewer and the tables do not fit.
const LEAST: (u16, u16) = (80, 24);

/// How pictures can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Graphics {
    Kitty,
    ITerm2,
    Sixel,
    HalfBlocks,
}

impl Graphics {
    fn name(self) -> &'static str {
        match self {
            Self::Kitty => "kitty",
            Self::ITerm2 => "iterm2",
            Self::Sixel => "sixel",
            Self::HalfBlocks => "half-blocks",
        }
    }
}

/// What is known of it.
#[derive(Debug, Clone, Default)]
struct Seen {
    size: Option<(u16, u16)>,
    is_utf8: bool,
    colours: &'static str,
    by_environment: Option<Graphics>,
    answer: Option<Answer>,
    is_multiplexed: bool,
}

/// Looks at the environment, and asks the terminal where there is one.
pub(super) async fn check() -> Finding {
    if !io::stdout().is_terminal() {
        return Finding::skipped(Check::Terminal, "standard output is no terminal");
    }
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let mut seen = by_environment(variable);
    seen.size = terminal_size::terminal_size().map(|(width, height)| (width.0, height.0));
    seen.answer = ask().await;
    judge(&seen)
}

fn by_environment(variable: impl Fn(&str) -> Option<String>) -> Seen {
    // The first one that is set decides (POSIX, locale(1)).
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| variable(name)).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    let term = variable("TERM").unwrap_or_default();
    let program = variable("TERM_PROGRAM").unwrap_or_default();
    let true_colour =
        variable("COLORTERM").is_some_and(|value| matches!(value.as_str(), "truecolor" | "24bit"));
    let colours = match term.as_str() {
        _ if true_colour => "true colour",
        "" | "dumb" => "none",
        term if term.contains("256") || term.contains("kitty") => "256 colours",
        _ => "8 colours",
    };
    let graphics = if variable("KITTY_WINDOW_ID").is_some() || term.contains("kitty") || program == "ghostty"
    {
        Some(Graphics::Kitty)
    } else if program == "iTerm.app" || program == "WezTerm" {
        Some(Graphics::ITerm2)
    } else if term.starts_with("foot") || term.starts_with("mlterm") {
        Some(Graphics::Sixel)
    } else {
        None
    };
    Seen {
        is_utf8: locale.contains("utf-8") || locale.contains("utf8"),
        colours,
        by_environment: graphics,
        is_multiplexed: variable("TMUX").is_some() || term.starts_with("screen") || term.starts_with("tmux"),
        ..Seen::default()
    }
}

/// What the terminal itself said counts for more than what the environment says of it, which an ssh session or a
/// multiplexer may have inherited from another one.
fn graphics(seen: &Seen) -> Graphics {
    match (seen.answer, seen.by_environment) {
        (Some(Answer { kitty: true, .. }), _) => Graphics::Kitty,
        // iTerm2's own images cannot be asked for.
        (_, Some(Graphics::ITerm2)) if !seen.is_multiplexed => Graphics::ITerm2,
        (Some(Answer { sixel: true, .. }), _) => Graphics::Sixel,
        (None, Some(known)) if !seen.is_multiplexed => known,
        _ => Graphics::HalfBlocks,
    }
}

fn judge(seen: &Seen) -> Finding {
    let graphics = graphics(seen);
    let (width, height) = seen.size.unwrap_or_default();
    let letters = if seen.is_utf8 { "UTF-8" } else { "not UTF-8" };
    let pictures = match graphics {
        Graphics::HalfBlocks => "no pictures but half blocks".to_owned(),
        known => format!("pictures by {}", known.name()),
    };
    let found = format!("{width}x{height}, {letters}, {}, {pictures}", seen.colours);
    let finding = if !seen.is_utf8 {
        let mend = "export LANG=C.UTF-8, in ~/.profile to keep it";
        Finding::warning(Check::Terminal, found, mend)
    } else if seen.size.is_some_and(|(width, height)| width < LEAST.0 || height < LEAST.1) {
        Finding::warning(Check::Terminal, found, format!("make the window {}x{} or larger", LEAST.0, LEAST.1))
    } else if seen.colours == "none" {
        Finding::warning(Check::Terminal, found, "set TERM to what the terminal is, such as xterm-256color")
    } else {
        Finding::ok(Check::Terminal, found)
    };
    finding.details(json!({
        "columns": width, "rows": height, "utf8": seen.is_utf8, "colours": seen.colours,
        "graphics": graphics.name(), "answered": seen.answer.is_some(), "multiplexed": seen.is_multiplexed,
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    fn environment(pairs: &'static [(&str, &str)]) -> Seen {
        let variable =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Seen { size: Some((120, 40)), ..by_environment(variable) }
    }

    #[test]
    fn the_environment_tells_letters_colours_and_well_known_terminals() {
        let kitty =
            environment(&[("TERM", "xterm-kitty"), ("LANG", "en_GB.UTF-8"), ("COLORTERM", "truecolor")]);
        assert_eq!((graphics(&kitty), judge(&kitty).state), (Graphics::Kitty, State::Ok));
        let iterm =
            environment(&[("TERM_PROGRAM", "iTerm.app"), ("TERM", "xterm-256color"), ("LC_CTYPE", "UTF8")]);
        assert_eq!((graphics(&iterm), iterm.colours), (Graphics::ITerm2, "256 colours"));
        let overruled = environment(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8"), ("TERM", "xterm")]);
        assert_eq!(judge(&overruled).state, State::Warning);
        assert_eq!(environment(&[("TERM", "dumb")]).colours, "none");
    }

    #[test]
    fn what_the_terminal_says_outweighs_what_was_inherited() {
        let answer = |kitty, sixel| Some(Answer { kitty, sixel });
        let inherited = environment(&[("KITTY_WINDOW_ID", "1"), ("TERM", "xterm")]);
        assert_eq!(graphics(&inherited), Graphics::Kitty);
        assert_eq!(
            graphics(&Seen { answer: answer(false, false), ..inherited.clone() }),
            Graphics::HalfBlocks
        );
        assert_eq!(graphics(&Seen { answer: answer(false, true), ..inherited.clone() }), Graphics::Sixel);
        let inside_tmux =
            environment(&[("TERM_PROGRAM", "iTerm.app"), ("TMUX", "/tmp/x"), ("TERM", "tmux-256color")]);
        assert_eq!(graphics(&inside_tmux), Graphics::HalfBlocks);
    }

    #[test]
    fn a_small_window_is_told_at_its_edge() {
        let sized = |width, height| {
            let seen = environment(&[("LANG", "C.UTF-8"), ("TERM", "xterm")]);
            judge(&Seen { size: Some((width, height)), ..seen }).state
        };
        assert_eq!(
            (sized(80, 24), sized(79, 24), sized(80, 23)),
            (State::Ok, State::Warning, State::Warning)
        );
    }
}
