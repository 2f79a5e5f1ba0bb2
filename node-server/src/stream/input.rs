//! A client's pointer, wheel and keys as DevTools `Input.*` orders. Pure: a message in, orders out.

use cbrowse_protocol::wire::{Button, ClientMessage, Modifiers, Press};
use serde_json::{Value, json};

/// One DevTools order.
#[derive(Debug, PartialEq)]
pub struct InputOrder {
    /// The method.
    pub method: &'static str,
    /// Its parameters.
    pub params: Value,
}

const CONTROL: Modifiers = 2;
const META: Modifiers = 4;
const ALT: Modifiers = 1;
/// Longest composed or pasted text handed to a page at once, in bytes.
const MAX_TEXT: usize = 256 * 1024;

/// The order for an input message; `None` for messages that are not input, or carry no finite position.
/// `scale`: device pixels per CSS pixel. Chromium divides the wheel's way by an emulated scale, so it is multiplied here.
pub fn order(message: &ClientMessage, scale: f64) -> Option<InputOrder> {
    match message {
        ClientMessage::Mouse { kind, x, y, button, buttons, clicks, modifiers } => {
            let kind = match kind {
                Press::Down => "mousePressed",
                Press::Up => "mouseReleased",
                Press::Move => "mouseMoved",
            };
            finite(*x, *y)?;
            Some(InputOrder {
                method: "Input.dispatchMouseEvent",
                params: json!({ "type": kind, "x": x, "y": y, "button": button_name(*button), "buttons": buttons,
                    "clickCount": clicks, "modifiers": modifiers, "pointerType": "mouse" }),
            })
        }
        ClientMessage::Wheel { x, y, dx, dy, modifiers } => {
            finite(*x, *y)?;
            finite(*dx, *dy)?;
            Some(InputOrder {
                method: "Input.dispatchMouseEvent",
                params: json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": dx * scale, "deltaY": dy * scale,
                    "modifiers": modifiers, "pointerType": "mouse" }),
            })
        }
        ClientMessage::Key { kind, key, code, modifiers, repeat } => {
            Some(key_order(*kind, key, code, *modifiers, *repeat))
        }
        ClientMessage::Text { text } if text.len() <= MAX_TEXT => {
            Some(InputOrder { method: "Input.insertText", params: json!({ "text": text }) })
        }
        _ => None,
    }
}

fn finite(x: f64, y: f64) -> Option<()> {
    (x.is_finite() && y.is_finite()).then_some(())
}

fn button_name(button: Button) -> &'static str {
    match button {
        Button::None => "none",
        Button::Left => "left",
        Button::Middle => "middle",
        Button::Right => "right",
        Button::Back => "back",
        Button::Forward => "forward",
    }
}

fn key_order(kind: Press, key: &str, code: &str, modifiers: Modifiers, repeat: bool) -> InputOrder {
    let text = if kind == Press::Up { String::new() } else { typed_text(key, modifiers) };
    let kind = match (kind, text.is_empty()) {
        (Press::Up, _) => "keyUp",
        (_, false) => "keyDown",
        // Without text the browser must not guess one from the key code.
        (_, true) => "rawKeyDown",
    };
    let mut params = json!({
        "type": kind, "key": key, "code": code, "modifiers": modifiers, "autoRepeat": repeat,
        "windowsVirtualKeyCode": virtual_key(key, code), "location": location(code),
        "isKeypad": code.starts_with("Numpad"),
    });
    if !text.is_empty() {
        params["text"] = json!(text);
        params["unmodifiedText"] = json!(text);
    }
    let commands = editing_commands(key, modifiers);
    if kind != "keyUp" && !commands.is_empty() {
        params["commands"] = json!(commands);
    }
    InputOrder { method: "Input.dispatchKeyEvent", params }
}

/// What a key press types: the key's own character, unless a modifier makes it a shortcut.
fn typed_text(key: &str, modifiers: Modifiers) -> String {
    if modifiers & (CONTROL | META) != 0 && modifiers & ALT == 0 {
        return String::new();
    }
    let mut characters = key.chars();
    match (key, characters.next(), characters.next()) {
        ("Enter", ..) => "\r".into(),
        ("Tab", ..) => "\t".into(),
        (_, Some(single), None) => single.to_string(),
        _ => String::new(),
    }
}

/// Editing shortcuts that a browser's own window would turn into commands.
fn editing_commands(key: &str, modifiers: Modifiers) -> &'static [&'static str] {
    if modifiers & (CONTROL | META) == 0 {
        return &[];
    }
    match key {
        "a" | "A" => &["selectAll"],
        "c" | "C" => &["copy"],
        "x" | "X" => &["cut"],
        "v" | "V" => &["paste"],
        "z" => &["undo"],
        "Z" | "y" => &["redo"],
        _ => &[],
    }
}

/// DOM `KeyboardEvent.location`: 1 left, 2 right, 3 keypad.
fn location(code: &str) -> u8 {
    match code {
        _ if code.starts_with("Numpad") => 3,
        _ if code.ends_with("Left") && !code.starts_with("Arrow") && !code.starts_with("Bracket") => 1,
        _ if code.ends_with("Right") && !code.starts_with("Arrow") && !code.starts_with("Bracket") => 2,
        _ => 0,
    }
}

/// The Windows virtual key code, which pages still read as `event.keyCode` (W3C UI Events, appendix on legacy key codes).
fn virtual_key(key: &str, code: &str) -> u32 {
    if let Some(digit) = code.strip_prefix("Digit").and_then(|text| text.parse::<u32>().ok()) {
        return 48 + digit;
    }
    if let Some(digit) = code.strip_prefix("Numpad").and_then(|text| text.parse::<u32>().ok()) {
        return 96 + digit;
    }
    if let Some(number) = key.strip_prefix('F').and_then(|text| text.parse::<u32>().ok()) {
        return 111 + number.min(24);
    }
    if let [letter @ (b'a'..=b'z' | b'A'..=b'Z')] = key.as_bytes() {
        return u32::from(letter.to_ascii_uppercase());
    }
    match key {
        "Backspace" => 8,
        "Tab" => 9,
        "Enter" => 13,
        "Shift" => 16,
        "Control" => 17,
        "Alt" => 18,
        "Pause" => 19,
        "CapsLock" => 20,
        "Escape" => 27,
        " " => 32,
        "PageUp" => 33,
        "PageDown" => 34,
        "End" => 35,
        "Home" => 36,
        "ArrowLeft" => 37,
        "ArrowUp" => 38,
        "ArrowRight" => 39,
        "ArrowDown" => 40,
        "Insert" => 45,
        "Delete" => 46,
        "Meta" => 91,
        "ContextMenu" => 93,
        _ => punctuation(code),
    }
}

fn punctuation(code: &str) -> u32 {
    match code {
        "Semicolon" => 186,
        "Equal" => 187,
        "Comma" => 188,
        "Minus" => 189,
        "Period" => 190,
        "Slash" => 191,
        "Backquote" => 192,
        "BracketLeft" => 219,
        "Backslash" => 220,
        "BracketRight" => 221,
        "Quote" => 222,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Press, key: &str, code: &str, modifiers: Modifiers) -> Value {
        let message =
            ClientMessage::Key { kind, key: key.into(), code: code.into(), modifiers, repeat: false };
        order(&message, 1.0).expect("keys are input").params
    }

    #[test]
    fn letters_type_and_shortcuts_do_not() {
        let plain = key(Press::Down, "a", "KeyA", 0);
        assert_eq!((plain["type"].as_str(), plain["text"].as_str()), (Some("keyDown"), Some("a")));
        assert_eq!(plain["windowsVirtualKeyCode"], 65);
        let shortcut = key(Press::Down, "a", "KeyA", CONTROL);
        assert_eq!((shortcut["type"].as_str(), shortcut.get("text")), (Some("rawKeyDown"), None));
        assert_eq!(shortcut["commands"][0], "selectAll");
        assert_eq!(key(Press::Up, "a", "KeyA", 0)["type"], "keyUp");
        // AltGr arrives as Ctrl+Alt and types.
        assert_eq!(key(Press::Down, "€", "KeyE", CONTROL | ALT)["text"], "€");
    }

    #[test]
    fn named_keys_have_their_codes() {
        for (name, code, number) in [
            ("Enter", "Enter", 13),
            ("ArrowLeft", "ArrowLeft", 37),
            ("F5", "F5", 116),
            ("5", "Digit5", 53),
            ("5", "Numpad5", 101),
            ("/", "Slash", 191),
        ] {
            assert_eq!(key(Press::Down, name, code, 0)["windowsVirtualKeyCode"], number, "{name}");
        }
        assert_eq!(key(Press::Down, "Shift", "ShiftRight", 8)["location"], 2);
        assert_eq!(key(Press::Down, "ArrowRight", "ArrowRight", 0)["location"], 0);
    }

    #[test]
    fn the_wheel_goes_as_far_as_the_person_turned_it() {
        let wheel = ClientMessage::Wheel { x: 1.0, y: 1.0, dx: 0.0, dy: 120.0, modifiers: 0 };
        assert_eq!(order(&wheel, 2.0).expect("input").params["deltaY"], 240.0);
    }

    #[test]
    fn positions_must_be_numbers() {
        let wild = ClientMessage::Wheel { x: f64::NAN, y: 0.0, dx: 0.0, dy: 1.0, modifiers: 0 };
        assert_eq!(order(&wild, 1.0), None);
        assert_eq!(order(&ClientMessage::Ping { token: 1 }, 1.0), None);
    }
}
