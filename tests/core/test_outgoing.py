"""Where an outgoing request may go: odd spellings, special networks, and the lists of the operator."""

from ipaddress import ip_address

import pytest

from mainspring.core.addresses import refusal
from mainspring.core.outgoing import Place, Rules, judge, place_of
from mainspring.errors import ConfigurationInvalid, TargetRefused

REFUSED = {
    # loopback, in every spelling that some resolver takes
    "http://127.0.0.1/": "loopback",
    "http://127.0.0.1./": "loopback",
    "http://127.1/": "loopback",
    "http://127.0.1/": "loopback",
    "http://127.255.255.254/": "loopback",
    "http://2130706433/": "loopback",
    "http://017700000001/": "loopback",
    "http://0177.0.0.1/": "loopback",
    "http://0177.0.0.01/": "loopback",
    "http://0x7f000001/": "loopback",
    "http://0x7F.0.0.1/": "loopback",
    "http://0x7f.1/": "loopback",
    "http://127.0x0.0.0x1/": "loopback",
    "http://[::1]/": "loopback",
    "http://[0:0:0:0:0:0:0:1]/": "loopback",
    "http://[::ffff:127.0.0.1]/": "loopback",
    "http://[::ffff:7f00:1]/": "loopback",
    "http://[0000::ffff:127.0.0.1]/": "loopback",
    "http://[64:ff9b::127.0.0.1]/": "loopback",
    "http://[2002:7f00:1::]/": "loopback",
    "http://localhost/": "loopback",
    "http://LOCALHOST./": "loopback",
    "http://any.localhost/": "loopback",
    # this network
    "http://0.0.0.0/": "unspecified",
    "http://0/": "unspecified",
    "http://0x/": "unspecified",
    "http://0.0.0.1/": "unspecified",
    "http://[::]/": "unspecified",
    "http://[::ffff:0.0.0.0]/": "unspecified",
    # private networks
    "http://10.0.0.1/": "private",
    "http://10.255.255.255/": "private",
    "http://172.16.0.1/": "private",
    "http://172.31.255.255/": "private",
    "http://192.168.1.1/": "private",
    "http://0300.0250.1.1/": "private",
    "http://3232235777/": "private",
    "http://0xc0a80101/": "private",
    "http://[::ffff:10.0.0.1]/": "private",
    "http://[64:ff9b::a00:1]/": "private",
    "http://[2002:c0a8:101::1]/": "private",
    "http://[fc00::1]/": "unique_local",
    "http://[fdff::1]/": "unique_local",
    "http://100.64.0.1/": "shared",
    "http://100.127.255.255/": "shared",
    # link-local, and what holds a machine's credentials
    "http://169.254.0.1/": "link_local",
    "http://[fe80::1]/": "link_local",
    "http://[febf::1]/": "link_local",
    "http://169.254.169.254/latest/meta-data/": "metadata",
    "http://2852039166/": "metadata",
    "http://0251.0376.0251.0376/": "metadata",
    "http://0xa9fea9fe/": "metadata",
    "http://0xa9.0xfe.0xa9.0xfe/": "metadata",
    "http://169.254.43518/": "metadata",
    "http://[::ffff:169.254.169.254]/": "metadata",
    "http://[64:ff9b::169.254.169.254]/": "metadata",
    "http://[2002:a9fe:a9fe::]/": "metadata",
    "http://[fd00:ec2::254]/": "metadata",
    "http://169.254.170.2/": "metadata",
    "http://100.100.100.200/": "metadata",
    "http://168.63.129.16/": "metadata",
    "http://metadata.google.internal/": "metadata",
    # networks of nobody
    "http://[64:ff9b:1::10.0.0.1]/": "nat64_local",
    "http://[64:ff9b:1:a00:0:100::]/": "nat64_local",
    "http://[2001:0:4136:e378:8000:63bf:f5ff:fffe]/": "teredo",
    "http://224.0.0.1/": "multicast",
    "http://[ff02::1]/": "multicast",
    "http://240.0.0.1/": "reserved",
    "http://255.255.255.255/": "reserved",
    "http://192.0.2.1/": "reserved",
    "http://198.18.0.1/": "reserved",
    "http://198.51.100.1/": "reserved",
    "http://203.0.113.9/": "reserved",
    "http://192.88.99.1/": "reserved",
    "http://192.0.0.8/": "reserved",
    "http://[2001:db8::1]/": "reserved",
    "http://[3fff::1]/": "reserved",
    "http://[::127.0.0.1]/": "reserved",
    "http://[::ffff:0:127.0.0.1]/": "reserved",
    "http://[fec0::1]/": "reserved",
    "http://[4000::1]/": "reserved",
    # a URL that two readers may read differently
    "http://user@93.184.215.14/": "user_info",
    "http://user:word@93.184.215.14/": "user_info",
    "http://93.184.215.14@127.0.0.1/": "user_info",
    "http://127.0.0.1#@example.com/": "loopback",
    "http://127.0.0.1?@example.com/": "loopback",
    "http://example.com\\@127.0.0.1/": "url",
    "http://example.com /": "url",
    "http://exa\tmple.com/": "url",
    "http://example.com/\r\nHost: internal": "url",
    "http://example.com/a/../b": "url",
    "http://example.com/a/%2E%2e/b": "url",
    "http://example.com:80:81/": "url|host",
    "http://example.com:http/": "url",
    "http://example.com:99999/": "url",
    "http://127%2e0%2e0%2e1/": "host",
    "http://%31%32%37.1/": "host",
    "http://127.0.0.1../": "host",
    "http://.example.com/": "host",
    "http://1.2.3.4.5/": "host",
    "http://1.2.3.256/": "host",
    "http://127.0.0.09/": "host",
    "http://4294967296/": "host",
    "http://0xfffffffff/": "host",
    "http://1.2.3.4x.5/": "host",
    "http://bücher.example/": "host",
    "http://[fe80::1%25eth0]/": "zone",
    "http://[fe80::1%eth0]/": "zone",
    "http://[::1/": "url",
    "http://[127.0.0.1]/": "url|host",
    "http://[v1.x]/": "url|host",
    # other schemes, and none
    "FILE:///etc/passwd": "scheme",
    "ftp://example.com/": "scheme",
    "gopher://127.0.0.1:6379/_": "scheme",
    "javascript://example.com/": "scheme",
    "https:///path": "scheme",
    "//example.com/": "scheme",
    "example.com": "scheme",
    "": "scheme",
    "http://" + "a" * 8_192: "url",
    # ports
    "http://93.184.215.14:22/": "port",
    "http://93.184.215.14:0/": "port",
    "https://93.184.215.14:8443/": "port",
}

ADMITTED = [
    "http://93.184.215.14/",
    "https://93.184.215.14:443/",
    "https://93.184.215.14:80/",
    "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
    "http://[64:ff9b::93.184.215.14]/",
    "http://[::ffff:93.184.215.14]/",
    "http://100.63.255.255/",
    "http://172.32.0.1/",
    "http://192.169.0.1/",
    "http://1572395790/",
]


def judged(url: str, rules: Rules | None = None, addresses: tuple[str, ...] = ()) -> Place:
    place = place_of(url)
    given = (place.address,) if place.address is not None else tuple(map(ip_address, addresses))
    judge(place, given, rules or Rules())
    return place


@pytest.mark.case("schedules", 60)
@pytest.mark.parametrize(("url", "rule"), REFUSED.items())
def test_what_may_not_be_reached_is_refused_under_the_name_of_its_rule(url: str, rule: str) -> None:
    with pytest.raises(TargetRefused) as refused:
        judged(url)
    assert refused.value.rule in rule.split("|")
    assert refused.value.code == "target_refused"


@pytest.mark.parametrize("url", ADMITTED)
def test_the_public_network_may_be_reached(url: str) -> None:
    judged(url)


def test_there_are_enough_vectors_to_mean_something() -> None:
    assert len(REFUSED) >= 100


def test_one_refused_address_among_many_refuses_the_name() -> None:
    with pytest.raises(TargetRefused, match=r"10\.0\.0\.7"):
        judged("http://example.com/", addresses=("93.184.215.14", "10.0.0.7"))
    judged("http://example.com/", addresses=("93.184.215.14", "93.184.215.15"))


def test_a_place_says_what_will_be_sent() -> None:
    place = place_of("HTTPS://API.Example.com.:8443/a%20b/ä?q=ü&r#part")
    assert (place.scheme, place.host, place.port, place.target) == ("https", "api.example.com", 8443, "/a%20b/%C3%A4?q=%C3%BC&r")
    assert place.authority == "api.example.com:8443"
    assert place_of(place.url) == place
    assert place_of("http://[2606:4700::1111]:80").url == "http://[2606:4700::1111]/"


@pytest.mark.parametrize(
    ("allow", "url", "addresses"),
    [
        ("inside.example.com", "http://inside.example.com/", ("10.0.0.7",)),
        ("*.example.com", "http://a.b.example.com/", ("127.0.0.1",)),
        ("inside.example.com:8080", "http://inside.example.com:8080/", ("10.0.0.7",)),
        ("localhost:9000", "http://localhost:9000/", ("127.0.0.1",)),
        ("10.0.0.0/8", "http://10.1.2.3/", ()),
        ("10.0.0.0/8", "http://anything.example.org/", ("10.1.2.3",)),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/", ()),
        ("10.0.0.7:8080", "http://10.0.0.7:8080/", ()),
        ("fd00::/8", "http://[fd00::7]/", ()),
        ("[fd00::/8]:8080", "http://[fd00::7]:8080/", ()),
        ("169.254.169.254", "http://169.254.169.254/", ()),
        (":8443", "https://example.com:8443/", ("93.184.215.14",)),
    ],
)
def test_an_operator_allows_hosts_networks_and_ports(allow: str, url: str, addresses: tuple[str, ...]) -> None:
    with pytest.raises(TargetRefused):
        judged(url, addresses=addresses)
    judged(url, Rules.read(allow=[allow]), addresses)


@pytest.mark.parametrize(
    ("allow", "url", "addresses"),
    [
        ("*.example.com", "http://example.com/", ("10.0.0.7",)),
        ("*.example.com", "http://badexample.com/", ("10.0.0.7",)),
        ("inside.example.com", "http://inside.example.com:8080/", ("10.0.0.7",)),
        ("inside.example.com:8080", "http://inside.example.com/", ("10.0.0.7",)),
        ("inside.example.com", "http://inside.example.com/", ("169.254.169.254",)),
        ("10.0.0.0/8", "http://both.example.com/", ("10.1.2.3", "192.168.0.1")),
        ("10.0.0.0/8", "http://localhost/", ("127.0.0.1",)),
        (":8443", "https://10.0.0.7:8443/", ()),
    ],
)
def test_what_is_allowed_is_allowed_no_further(allow: str, url: str, addresses: tuple[str, ...]) -> None:
    with pytest.raises(TargetRefused):
        judged(url, Rules.read(allow=[allow]), addresses)


@pytest.mark.parametrize("deny", ["93.184.215.0/24", "example.com", ":443", "93.184.215.14:443"])
def test_denial_wins(deny: str) -> None:
    rules = Rules.read(allow=["example.com", "93.184.215.14"], deny=[deny])
    with pytest.raises(TargetRefused) as refused:
        judged("https://example.com/", rules, ("93.184.215.14",))
    assert refused.value.rule == "HTTP_DENY"
    judged("http://example.org/", rules, ("93.184.216.1",))


@pytest.mark.parametrize(
    "line", ["", "http://example.com", "10.0.0.0/33", "*", "a*.example.com", "example.com:0", "x:99999", "1.2.3"]
)
def test_a_line_that_means_nothing_is_refused_by_name(line: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="HTTP_DENY holds"):
        Rules.read(deny=[line])


def test_every_ipv6_network_that_nobody_was_given_is_refused() -> None:
    for top in range(0x100):
        address = ip_address((top << 120) + 0x1234)
        assert (refusal(address) is None) == (0x20 <= top < 0x40), address
