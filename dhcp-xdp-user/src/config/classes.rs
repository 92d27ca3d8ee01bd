//! Checks of `[[class]]`, and of what names classes.

use std::ops::Range;

use toml::Spanned;

use super::{
    Overlay, Reservations, boot,
    check::Checker,
    file::{ClassForm, FileForm, Number, Text},
    levels::Levels,
    options::nearest,
    subnets,
};
use crate::{
    class::{Class, ClassFault, ClassId, ClassSet, ClassSource, Classes, Expression, Part, Scope, Shape},
    lease::MAX_LIMITS,
};

/// Most leases that a limit may allow: more is none.
const MAX_LEASE_LIMIT: i64 = 1 << 26;

/// The classes of a configuration: how clients get into them, and what they get there.
#[derive(Clone, Debug, Default)]
pub struct ClassTable {
    /// Their conditions.
    pub compiled: Classes,
    /// What each gives, by its index.
    pub settings: Vec<ClassSettings>,
    /// Those whose clients get no answer.
    pub ignored: ClassSet,
    /// Those with a lease limit, at most [`MAX_LIMITS`].
    pub limited: ClassSet,
    /// Whether any of these depends on how a message came: without its relay agent's word it counts against nothing.
    pub limits_by_path: bool,
    /// Those that lay anything over replies: the overlay of a class is that of its index.
    pub overlaid: ClassSet,
}

impl ClassTable {
    /// A class of a client may also follow from its reservation, as `known` does and what depends on these; where a reservation may be
    /// found by a relay agent's word, so may all of them.
    pub(super) fn knows(&mut self, reservations: &Reservations) {
        let by_relay_agent = || reservations.iter().any(|(reservation, _)| reservation.kind().is_of_relay_agent());
        self.limits_by_path |= !self.limited.is_empty() && by_relay_agent();
    }
}

/// What a class gives; of several that a client is in, the one that is written first comes first.
#[derive(Clone, Debug, Default)]
pub struct ClassSettings {
    /// In place of the subnet's lease time, seconds.
    pub lease_time_s: Option<u32>,
    /// In place of the subnet's least lease time, seconds; `lease_time_s` where that is all that is set.
    pub min_lease_time_s: Option<u32>,
    /// In place of the subnet's greatest lease time, seconds; `lease_time_s` where that is all that is set.
    pub max_lease_time_s: Option<u32>,
    /// Most leases that clients of the class have at a time; where it is spawned, of each value.
    pub lease_limit: Option<u32>,
}

/// Who is served, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Only clients in one of these; `None` is all.
    pub allow: Option<ClassSet>,
    /// No client in any of these, whatever else it is in.
    pub deny: ClassSet,
    /// Only clients with a reservation.
    pub known_only: bool,
}

impl Access {
    /// Whether a client with these classes is served.
    pub fn admits(&self, classes: &ClassSet, is_known: bool) -> bool {
        self.allow.is_none_or(|allow| allow.intersects(classes))
            && !self.deny.intersects(classes)
            && (is_known || !self.known_only)
    }
}

/// All classes and what they lay over replies, in the order of the file.
pub(super) fn classes(checker: &mut Checker<'_>, form: &FileForm, levels: &Levels<'_>) -> (ClassTable, Vec<Overlay>) {
    let text = |text: &'_ Option<Text>| text.as_ref().map(|text| text.get_ref().as_str().to_owned());
    let owned: Vec<[Option<String>; 3]> = (form.classes.iter())
        .map(|class| class.get_ref())
        .map(|class| [text(&class.name), text(&class.condition), text(&class.spawn)])
        .collect();
    let sources: Vec<ClassSource<'_>> = owned
        .iter()
        .map(|[name, condition, spawn]| ClassSource {
            name: name.as_deref().unwrap_or_default(),
            condition: condition.as_deref(),
            spawn: spawn.as_deref(),
        })
        .collect();
    let option = |name: &str| levels.option_named(name);
    let compiled = Classes::compile(&sources, &option).unwrap_or_else(|faults| {
        faults.iter().for_each(|fault| complain(checker, form, fault));
        Classes::default()
    });
    let settings: Vec<ClassSettings> = form.classes.iter().map(|class| settings(checker, class.get_ref())).collect();
    let which = |is: &dyn Fn(usize) -> bool| -> ClassSet {
        (0..form.classes.len()).filter(|at| is(*at)).filter_map(|at| ClassId::try_from(at).ok()).collect()
    };
    let ignored = which(&|at| form.classes[at].get_ref().ignore);
    let limited = which(&|at| settings[at].lease_limit.is_some());
    let mut limits = form.classes.iter().filter_map(|class| class.get_ref().lease_limit.as_ref());
    if let Some(one_more) = limits.nth(MAX_LIMITS) {
        checker.error(one_more.span(), format!("this is one lease limit too many; expected at most {MAX_LIMITS}"));
    }
    let overlays: Vec<Overlay> = form.classes.iter().map(|class| overlay(checker, class.get_ref(), levels)).collect();
    let overlaid = which(&|at| overlays.get(at).is_some_and(|overlay| !overlay.is_empty()));
    let limits_by_path = limited.iter().filter_map(|id| compiled.get(id)).any(Class::depends_on_path);
    (ClassTable { compiled, settings, ignored, limited, limits_by_path, overlaid }, overlays)
}

/// The expression whose value is a client's flexible identifier.
pub(super) fn flex_id(checker: &mut Checker<'_>, form: &FileForm, levels: &Levels<'_>) -> Option<Expression> {
    let text = form.flex_id.as_ref()?;
    let class = |_: &str| Err("a flexible identifier cannot depend on classes, which come after it".to_owned());
    let scope = Scope { option: &|name| levels.option_named(name), class: &class, has_reply: false };
    match Expression::compile(text.get_ref(), Shape::Bytes, &scope) {
        Ok(compiled) => Some(compiled),
        Err(faults) => {
            for fault in faults {
                checker.error_within(text, fault.span, fault.message);
            }
            None
        }
    }
}

/// Tells a fault of a class in its place in the file.
fn complain(checker: &mut Checker<'_>, form: &FileForm, ClassFault { class, part, fault }: &ClassFault) {
    let Some(spanned) = form.classes.get(*class) else { return };
    let given = spanned.get_ref();
    let text = match part {
        Part::Name => &given.name,
        Part::Condition => &given.condition,
        Part::Spawn => &given.spawn,
    };
    match text {
        Some(text) => checker.error_within(text, fault.span.clone(), fault.message.clone()),
        None => checker.error(spanned.span(), "`name` is missing; expected it as name = \"voip\""),
    }
}

fn settings(checker: &mut Checker<'_>, given: &ClassForm) -> ClassSettings {
    let mut time = |given: &Option<Number>| {
        let number = given.as_ref()?;
        Some(checker.number(Some(number), 1..=subnets::MAX_LEASE_TIME_S, 1, " seconds") as u32)
    };
    let [lease_time_s, min_lease_time_s, max_lease_time_s] =
        [&given.lease_time_s, &given.min_lease_time_s, &given.max_lease_time_s].map(&mut time);
    for (bound, is_within, which) in [
        (&given.min_lease_time_s, min_lease_time_s <= lease_time_s, "most"),
        (&given.max_lease_time_s, max_lease_time_s >= lease_time_s, "least"),
    ] {
        if let (Some(bound), Some(lease_time_s), false) = (bound, lease_time_s, is_within) {
            let message =
                format!("found {}; expected at {which} the lease time, {lease_time_s} seconds", bound.get_ref());
            checker.error(bound.span(), message);
        }
    }
    // As in a subnet, where only the lease time is set.
    let (min_lease_time_s, max_lease_time_s) = (min_lease_time_s.or(lease_time_s), max_lease_time_s.or(lease_time_s));
    let limit = given.lease_limit.as_ref();
    ClassSettings {
        lease_time_s,
        min_lease_time_s,
        max_lease_time_s,
        lease_limit: limit.map(|limit| checker.number(Some(limit), 1..=MAX_LEASE_LIMIT, 1, " leases") as u32),
    }
}

fn overlay(checker: &mut Checker<'_>, given: &ClassForm, levels: &Levels<'_>) -> Overlay {
    let mut name = |text: &Option<Text>, most| text.as_ref().map(|text| boot::name(checker, Some(text), most));
    let server_name = name(&given.server_name, boot::MAX_SERVER_NAME);
    let boot_file = name(&given.boot_file, boot::MAX_BOOT_FILE);
    let next_server = given.next_server.as_ref().and_then(|text| checker.address(text));
    Overlay { options: levels.overlay(checker, &given.options), next_server, server_name, boot_file }
}

/// The classes of a list of names.
pub(super) fn named(checker: &mut Checker<'_>, names: &[Text], form: &FileForm) -> ClassSet {
    let known = |text: &&Text| known(form).position(|known| known == text.get_ref());
    let mut set = ClassSet::EMPTY;
    for name in names {
        match known(&name) {
            Some(at) => set.extend(ClassId::try_from(at).ok()),
            None => unknown(checker, form, name.get_ref(), name.span()),
        }
    }
    set
}

fn known(form: &FileForm) -> impl Iterator<Item = &str> {
    form.classes.iter().map(|class| class.get_ref().name.as_ref().map_or("", |name| name.get_ref().as_str()))
}

/// A class by its name.
///
/// # Errors
/// There is none of this name.
pub(super) fn class_named(form: &FileForm, name: &str) -> Result<ClassId, String> {
    let at = known(form).position(|known| known == name);
    at.and_then(|at| ClassId::try_from(at).ok()).ok_or_else(|| no_class(form, name))
}

fn unknown(checker: &mut Checker<'_>, form: &FileForm, name: &str, at: Range<usize>) {
    checker.error(at, no_class(form, name));
}

fn no_class(form: &FileForm, name: &str) -> String {
    let advice = match nearest(name, known(form), '-') {
        Some(near) => format!("did you mean `{near}`?"),
        None if form.classes.is_empty() => "there is none".to_owned(),
        None => {
            let some: Vec<&str> = known(form).filter(|name| !name.is_empty()).take(10).collect();
            format!("there are {}", some.join(", "))
        }
    };
    format!("no [[class]] has the name `{name}`; {advice}")
}

/// Who a subnet or pool serves.
pub(super) fn access(
    checker: &mut Checker<'_>,
    form: &FileForm,
    allow: Option<&Spanned<Vec<Text>>>,
    deny: &[Text],
    known_only: bool,
) -> Access {
    if let Some(allow) = allow.filter(|allow| allow.get_ref().is_empty()) {
        checker.error(allow.span(), "is empty: nobody would be served; leave it out to serve every class");
    }
    let allow = allow.map(|allow| named(checker, allow.get_ref(), form));
    Access { allow, deny: named(checker, deny, form), known_only }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{AnyMachine, Checked, Config, Rejected, Severity, parse},
        *,
    };

    /// Line 1 to 4; what follows begins at line 5.
    const HEAD: &str = "[[interface]]\nname = \"eth1\"\n[[subnet]]\nprefix = \"198.51.100.0/24\"\n";

    fn read(text: &str) -> Result<Checked, Rejected> {
        parse("dhcp.toml", &format!("{HEAD}{text}"), &AnyMachine)
    }

    fn config(text: &str) -> Config {
        read(text).unwrap_or_else(|rejected| panic!("{rejected}")).config
    }

    fn errors(text: &str) -> Vec<String> {
        match read(text) {
            Ok(_) => panic!("no error in {text}"),
            Err(rejected) => {
                let errors = rejected.findings.iter().filter(|finding| finding.severity == Severity::Error);
                errors.map(ToString::to_string).collect()
            }
        }
    }

    #[test]
    fn classes_are_read_with_what_they_give() {
        let config = config(
            "allow_classes = [\"a\", \"b\"]\ndeny_classes = [\"c\"]\nknown_clients_only = true\n\
             [[class]]\nname = \"a\"\nmatch = \"relay.exists\"\nspawn = \"relay.circuit-id\"\nlease_limit = 4\n\
             lease_time_s = 600\nmax_lease_time_s = 900\nnext_server = \"192.0.2.9\"\nboot_file = \"x\"\n\
             options = { dns-servers = \"192.0.2.53\" }\n\
             [[class]]\nname = \"b\"\nmatch = \"not member('a')\"\nignore = true\n[[class]]\nname = \"c\"\n",
        );
        let classes = &config.classes;
        assert_eq!(classes.compiled.iter().map(|class| class.name()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(
            (classes.ignored.iter().collect::<Vec<_>>(), classes.limited.iter().collect::<Vec<_>>()),
            (vec![1], vec![0])
        );
        let a = &classes.settings[0];
        assert_eq!(
            (a.lease_time_s, a.min_lease_time_s, a.max_lease_time_s, a.lease_limit),
            (Some(600), Some(600), Some(900), Some(4))
        );
        assert_eq!(classes.overlaid.iter().collect::<Vec<_>>(), [0]);
        assert_eq!(config.overlays[0].boot_file.as_deref(), Some(&b"x"[..]));
        assert_eq!(config.overlays[0].options.get(6).unwrap().data, [192, 0, 2, 53]);
        let access = config.subnets[0].access;
        let set = |classes: &[ClassId]| classes.iter().copied().collect::<ClassSet>();
        assert_eq!(access, Access { allow: Some(set(&[0, 1])), deny: set(&[2]), known_only: true });
        assert!(access.admits(&set(&[1]), true) && !access.admits(&set(&[1]), false));
        assert!(!access.admits(&set(&[0, 2]), true) && !access.admits(&set(&[]), true));
        assert!(Access::default().admits(&set(&[]), false));
    }

    #[test]
    fn an_error_in_an_expression_is_told_with_its_line_column_and_carets() {
        let text = "[[class]]\nname = \"modem\"\nmatch = \"true\"\n\n[[class]]\nname = \"voip\"\nmatch = \"option[77] = 'voip'\"\n";
        let error = parse("dhcp-xdp.toml", &format!("{text}{HEAD}"), &AnyMachine).unwrap_err().findings.remove(0);
        let document = include_str!("../../../docs/classes.md");
        let shown = document.split("```text\n").nth(1).unwrap().split("\n```").next().unwrap();
        assert_eq!(error.to_string(), shown);
    }

    #[test]
    fn places_are_right_in_every_kind_of_toml_text() {
        for (text, place) in [
            (r#"match = 'giadr == 1'"#, "7:10"),
            (r#"match = "\"\u00e4\\\"\" == 'x' and giadr == 1""#, "7:36"),
            ("match = '''\n  true\n  and giadr == 1'''", "9:7"),
            ("match = \"\"\"\n  true \\\n    and giadr == 1\"\"\"", "9:9"),
            ("match = \"\"\"true and giadr == 1\"\"\"", "7:21"),
        ] {
            let errors = errors(&format!("[[class]]\nname = \"a\"\n{text}\n"));
            assert_eq!(errors.len(), 1, "{errors:#?}");
            assert!(errors[0].starts_with(&format!("dhcp.toml:{place}: ")), "{text}: {}", errors[0]);
            assert!(errors[0].contains("did you mean `giaddr`?") && errors[0].ends_with("^^^^^"), "{}", errors[0]);
        }
    }

    #[test]
    fn all_that_is_wrong_with_classes_is_told_at_once() {
        let errors = errors(
            "deny_classes = [\"nobody\"]\nallow_classes = []\n[[class]]\nmatch = \"true\"\n[[class]]\nname = \"a\"\nmatch = \"member('b')\"\n\
             lease_limit = 0\n[[class]]\nname = \"b\"\nmatch = \"member('a')\"\noptions = { nonsense = 1 }\n[[class]]\nname = \"b\"\n",
        );
        for part in [
            "5:17: error: subnet[0].deny_classes[0]: no [[class]] has the name `nobody`",
            "6:17: error: subnet[0].allow_classes: is empty",
            "7:1: error: class[0]: `name` is missing",
            "12:15: error: class[1].lease_limit: found 0",
            "15:17: error: class[2].match: classes depend on each other in a circle: a -> b -> a",
            "16:13: error: class[2].options.nonsense: no option is known",
            "18:9: error: class[3].name: class `b` is there already",
        ] {
            assert!(errors.iter().any(|error| error.contains(part)), "{part} in {errors:#?}");
        }
        assert_eq!(errors.len(), 7, "{errors:#?}");
    }

    #[test]
    fn there_are_as_many_lease_limits_as_a_lease_can_count_against() {
        let class = |name: usize| format!("[[class]]\nname = \"{name}\"\nmatch = \"true\"\nlease_limit = 2\n");
        let three: String = (0..3).map(class).collect();
        assert_eq!(config(&three).classes.limited.iter().count(), 3);
        assert!(errors(&format!("{three}{}", class(3)))[0].contains("one lease limit too many; expected at most 3"));
    }

    #[test]
    fn the_examples_of_the_documentation_are_accepted() {
        let document = include_str!("../../../docs/classes.md");
        let blocks: Vec<&str> =
            document.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(!blocks.is_empty());
        blocks.into_iter().for_each(|block| drop(config(block)));
    }
}
