//! Which of a lost session's tabs go along to the next node.

use cbrowse_protocol::wire::Tab;

/// Tabs that go along to the next node, the shown one apart; a node takes 32 and refuses a session that brings more.
const MAX_TABS: usize = 31;
/// Longest address that goes along, in bytes. All of them travel in one header, for which a node has some 400 KB.
const MAX_TAB_LENGTH: usize = 8 * 1024;

/// The shown tab's address, and those of the others, as far as the next node takes them.
pub(super) fn tabs_to_carry(tabs: &[Tab]) -> (Option<String>, Vec<String>) {
    let carried = || tabs.iter().filter(|tab| is_web(&tab.url));
    let active = carried().find(|tab| tab.active).map(|tab| tab.url.clone());
    let others = carried().map(|tab| &tab.url).filter(|url| Some(*url) != active.as_ref());
    let others = others.take(MAX_TABS).cloned().collect();
    (active, others)
}

fn is_web(url: &str) -> bool {
    let is_short = url.len() <= MAX_TAB_LENGTH;
    is_short && (url.starts_with("http://") || url.starts_with("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tab(url: impl Into<String>, active: bool) -> Tab {
        Tab { id: "t".into(), url: url.into(), title: String::new(), active }
    }

    #[test]
    fn the_shown_tab_goes_first_and_no_more_go_along_than_a_node_takes() {
        let mut tabs: Vec<Tab> = (0..100).map(|n| tab(format!("https://example.org/{n}"), n == 40)).collect();
        tabs.insert(0, tab("file:///etc/passwd", false));
        tabs.insert(1, tab(format!("https://example.org/{}", "x".repeat(MAX_TAB_LENGTH)), false));
        let (active, others) = tabs_to_carry(&tabs);
        assert_eq!(active.as_deref(), Some("https://example.org/40"));
        assert_eq!(others.len(), MAX_TABS);
        assert_eq!(others[0], "https://example.org/0");
        assert!(!others.contains(&"https://example.org/40".to_owned()));
    }
}
