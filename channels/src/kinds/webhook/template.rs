//! Templates: minijinja with plain data, few filters and a limit on the work.

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value};

/// How much work a template may make; minijinja counts memory, too. Five hundred items
/// with a dozen fields each need a tenth of it.
const FUEL: u64 = 200_000;
/// Longest result of a filter, in bytes.
const MAX_FILTERED: usize = 256 * 1024;

/// A template that was parsed once without a fault.
pub(super) struct Template {
    environment: Environment<'static>,
}

impl Template {
    /// # Errors
    /// A sentence without its subject.
    pub(super) fn parse(text: String) -> Result<Template, String> {
        let mut environment = Environment::empty();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(50);
        environment.add_filter("tojson", to_json);
        environment.add_filter("upper", |text: String| text.to_uppercase());
        environment.add_filter("lower", |text: String| text.to_lowercase());
        environment.add_filter("length", |value: Value| value.len());

        let added = environment.add_template_owned("template", text);
        added.map_err(|error| format!("has a mistake: {}", explain(&error)))?;
        Ok(Template { environment })
    }

    /// # Errors
    /// What the template does wrong, without the data.
    pub(super) fn render(&self, data: &serde_json::Value) -> Result<String, String> {
        let template = self.environment.get_template("template");
        let rendered = template.and_then(|template| template.render(Serde(data)));
        rendered.map_err(|error| explain(&error))
    }
}

fn explain(error: &Error) -> String {
    let line = error.line().map(|line| format!(" in line {line}"));
    let detail = error.detail().unwrap_or_default();
    let detail = crate::text::clean(detail, 200);
    format!("{}{}: {detail}", error.kind(), line.unwrap_or_default())
}

/// The value as JSON, quotes included.
fn to_json(value: &Value) -> Result<String, Error> {
    let fail = |text: &str| Error::new(ErrorKind::InvalidOperation, text.to_owned());
    let text = serde_json::to_string(value).map_err(|_| fail("not JSON"))?;
    if text.len() > MAX_FILTERED {
        return Err(fail("the JSON is too long"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Template;

    fn render(text: &str) -> Result<String, String> {
        let data = json!({"text": "a\"b\n<&>", "items": [{"n": 1}, {"n": 2}]});
        Template::parse(text.to_owned())?.render(&data)
    }

    #[test]
    fn data_is_written_as_json() {
        assert_eq!(render("{{ text|tojson }}").unwrap(), r#""a\"b\n<&>""#);
        let list = "{% for item in items %}{{ item.n }},{% endfor %}{{ items|length }}";
        assert_eq!(render(list).unwrap(), "1,2,2");
    }

    #[test]
    fn mistakes_name_their_line() {
        let error = render("\n{% for x in %}").unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        assert!(render("{{ text|unknown }}").is_err());
        assert!(render("{% include 'x' %}").is_err());
    }

    #[test]
    fn work_and_memory_are_limited() {
        let ten = "{% for a in [1,2,3,4,5,6,7,8,9,0] %}".repeat(7);
        let loops = format!("{ten}x{}", "{% endfor %}".repeat(7));
        let doubling = format!(
            "{{% set a = 'xxxxxxxx' %}}{}{{{{ a }}}}",
            "{% set a = a ~ a %}".repeat(40)
        );
        let quoting = format!("{{{{ text{} }}}}", "|tojson".repeat(40));
        let bombs = [
            loops.as_str(),
            &doubling,
            &quoting,
            "{{ 'x' * 1000000000 }}",
            "{{ range(1000000000) }}",
            "{{ (items * 100000000)|tojson }}",
        ];
        for bomb in bombs {
            let started = std::time::Instant::now();
            assert!(render(bomb).is_err(), "{bomb}");
            assert!(started.elapsed().as_secs() < 5, "{bomb}");
        }
    }
}
