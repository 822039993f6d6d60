//! The ASCII form of a name with other letters, as RFC 3492 has it: for the advice in an
//! error. Nothing is ever sent to a name that was made here, because the rules for what
//! letters a name may have (IDNA) are long, and are the registry's to apply.

const BASE: u32 = 36;
const MIN: u32 = 1;
const MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const FIRST_OTHER: u32 = 0x80;

/// The name in ASCII; `None` if there is no such form, or if the name has capital letters
/// beyond ASCII, because a table of all letters in both cases makes the agent larger.
pub(super) fn to_ascii(name: &str) -> Option<String> {
    let is_capital = |letter: char| !letter.is_ascii() && letter.is_uppercase();
    if name.contains(is_capital) {
        return None;
    }
    let labels = name.split('.').map(|label| {
        if label.is_ascii() {
            return Some(label.to_owned());
        }
        let encoded = encode(&label.to_ascii_lowercase());
        encoded.map(|encoded| format!("xn--{encoded}"))
    });
    Some(labels.collect::<Option<Vec<_>>>()?.join("."))
}

fn encode(label: &str) -> Option<String> {
    let characters: Vec<u32> = label.chars().map(u32::from).collect();
    let mut encoded: String = label.chars().filter(char::is_ascii).collect();
    let basic_count = u32::try_from(encoded.len()).ok()?;
    if basic_count > 0 {
        encoded.push('-');
    }

    let (mut next, mut delta, mut bias) = (FIRST_OTHER, 0_u32, INITIAL_BIAS);
    let mut done = basic_count;
    let count = u32::try_from(characters.len()).ok()?;
    while done < count {
        let least = characters.iter().copied().filter(|c| *c >= next).min()?;
        delta = delta.checked_add((least - next).checked_mul(done + 1)?)?;
        next = least;
        for character in &characters {
            if *character < next {
                delta = delta.checked_add(1)?;
            }
            if *character == next {
                push_number(&mut encoded, delta, bias)?;
                bias = adapt(delta, done + 1, done == basic_count);
                (delta, done) = (0, done + 1);
            }
        }
        (delta, next) = (delta + 1, next + 1);
    }
    Some(encoded)
}

/// Appends `number` in digits of a base that changes with their place.
fn push_number(encoded: &mut String, mut number: u32, bias: u32) -> Option<()> {
    for place in (BASE..).step_by(BASE as usize) {
        let threshold = place.saturating_sub(bias).clamp(MIN, MAX);
        if number < threshold {
            break;
        }
        let digit = threshold + (number - threshold) % (BASE - threshold);
        number = (number - threshold) / (BASE - threshold);
        encoded.push(show_digit(digit)?);
    }
    encoded.push(show_digit(number)?);
    Some(())
}

/// A digit of a name: a to z, then 0 to 9.
fn show_digit(digit: u32) -> Option<char> {
    let digit = u8::try_from(digit).ok()?;
    match digit {
        0..26 => Some((b'a' + digit).into()),
        26..36 => Some((b'0' + digit - 26).into()),
        _ => None,
    }
}

fn adapt(delta: u32, count: u32, is_first: bool) -> u32 {
    let mut delta = delta / if is_first { DAMP } else { 2 };
    delta += delta / count;
    let mut places = 0;
    while delta > ((BASE - MIN) * MAX) / 2 {
        delta /= BASE - MIN;
        places += BASE;
    }
    places + (BASE - MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_ascii_form_that_registries_know() {
        for (name, ascii) in [
            ("fleet.example.com", "fleet.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("Bücher.Example", "xn--bcher-kva.Example"),
            ("flotte.münchen.de", "flotte.xn--mnchen-3ya.de"),
            ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("faß.de", "xn--fa-hia.de"),
        ] {
            assert_eq!(to_ascii(name).as_deref(), Some(ascii));
        }
        assert_eq!(to_ascii("BÜCHER.example"), None);
    }
}
