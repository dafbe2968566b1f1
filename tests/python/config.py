"""Parses texts and whole configurations with Supervisor's own code, for src/config/tests.rs and tests/config.rs.

Each input line is a JSON array: name of a function, arguments. Each output line is ["ok", value] or ["error", message].
Run with an interpreter that has supervisor.
"""

import configparser
import io
import json
import os
import shlex
import sys

from supervisor import datatypes, options


def read(files):
    """Reads files one after the other, as [include] does. Returns sections and defaults, each a list of [key, value]."""
    parser = options.UnhosedConfigParser()
    for number, text in enumerate(files):
        raw = io.BytesIO(text.encode("utf-8", "surrogateescape"))
        parser.read_file(io.TextIOWrapper(raw, encoding="utf-8"), "f%d" % number)
        if len(files) > 1:
            parser.expand_here("/dir%d" % number)
    sections = [[name, list(map(list, items.items()))] for name, items in parser._sections.items()]
    return [sections, list(map(list, parser._defaults.items()))]


def expand(text, names):
    return options.expand(text, names, "key")


def automatic(value):
    return "AUTO" if value is datatypes.Automatic else value


def restart(value):
    if value is datatypes.RestartWhenExitUnexpected:
        return "unexpected"
    return "true" if value is datatypes.RestartUnconditionally else "false"


def realize(file, directory, environment):
    """Reads a whole configuration in a new process, since Supervisor changes global state."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(answer(lambda: realized(file))).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    kind, value = json.loads(text)
    if kind == "error":
        raise ValueError(value)
    return value


def realized(file):
    server = options.ServerOptions()
    server.exit = lambda status: None

    def usage(message):
        raise ValueError(str(message))

    server.usage = usage
    server.realize(["-c", file], doc="", progname="supervisord")
    if server.server_configs:
        # The servers create their interfaces, with all keys of the sections.
        for name, factory, keys in server.rpcinterface_factories:
            try:
                factory(server, **keys)
            except TypeError:
                raise ValueError("Could not make %s rpc interface" % name)
    section = server.configroot.supervisord
    return {
        "server": {
            "logfile": server.logfile,
            "logfile_maxbytes": server.logfile_maxbytes,
            "logfile_backups": server.logfile_backups,
            "loglevel": server.loglevel,
            "pidfile": server.pidfile,
            "umask": server.umask,
            "nodaemon": bool(server.nodaemon),
            "silent": bool(server.silent),
            "minfds": server.minfds,
            "minprocs": server.minprocs,
            "nocleanup": bool(server.nocleanup),
            "uid": server.uid,
            "directory": server.directory,
            "strip_ansi": bool(server.strip_ansi),
            "environment": list(map(list, section.environment.items())),
            "identifier": server.identifier,
        },
        "groups": [group(each, section.environment) for each in unique(server.process_group_configs, first=True)],
        "http": sorted(map(http, server.server_configs), key=lambda each: each["section"]),
        "rpc_interfaces": [name for name, _, _ in server.rpcinterface_factories],
        "warnings": sorted(set(server.parse_warnings)),
    }


def unique(configs, first):
    """Removes duplicates by name: keeps the first group, or the last process (in the place of the first)."""
    kept = {}
    for config in configs:
        if not (first and config.name in kept):
            kept[config.name] = config
    return list(kept.values())


def group(config, shared):
    shown = {"name": config.name, "priority": config.priority}
    if isinstance(config, options.EventListenerPoolConfig):
        from supervisor.events import getEventNameByType

        shown["events"] = sorted(map(getEventNameByType, config.pool_events))
        shown["buffer_size"] = config.buffer_size
    if isinstance(config, options.FastCGIGroupConfig):
        socket = config.socket_config
        shown["socket"] = socket.url
        shown["backlog"] = socket.backlog
        if socket.url.startswith("unix:"):
            shown["owner"] = list(socket.owner) if socket.owner else None
            shown["mode"] = socket.mode
    shown["processes"] = [process(each, shared) for each in unique(config.process_configs, first=False)]
    return shown


def process(config, shared):
    shown = {name: automatic(getattr(config, name)) for name in config.req_param_names}
    shown["autorestart"] = restart(config.autorestart)
    shown["serverurl"] = config.serverurl
    own = dict(shared)
    own.update(config.environment)
    shown["environment"] = sorted(map(list, own.items()))
    return shown


def http(config):
    if "file" in config:
        address = "unix://" + config["file"]
    else:
        address = "tcp://%s:%d" % (config["host"], config["port"])
    return {
        "section": config["section"],
        "address": address,
        "chmod": config.get("chmod"),
        "chown": list(config["chown"]) if "chown" in config else None,
        "credentials": [config["username"], config["password"]] if config["username"] else None,
    }


def command_line(arguments):
    """Parses a command line of the server. Returns the first characters of its output if it exits (help, version), else None."""
    server = options.ServerOptions()

    def usage(message):
        raise ValueError(str(message))

    def ended(status):
        raise SystemExit

    server.usage = usage
    server.exit = ended
    server.stdout = io.StringIO()
    server.process_config = lambda do_usage=True: None
    server.default_configfile = lambda: None
    try:
        options.Options.realize(server, arguments, doc="usage", progname="supervisord")
    except SystemExit:
        return server.stdout.getvalue().strip()[:5]
    return None


QUESTIONS = {
    "read": read,
    "expand": expand,
    "realize": realize,
    "command_line": command_line,
    "int": datatypes.integer,
    "size": datatypes.byte_size,
    "bool": datatypes.boolean,
    "octal": datatypes.octal_type,
    "exitcodes": datatypes.list_of_exitcodes,
    "signal": datatypes.signal_number,
    "autorestart": lambda text: restart(datatypes.auto_restart(text)),
    "loglevel": datatypes.logging_level,
    "port": lambda text: list(datatypes.inet_address(text)),
    "list": datatypes.list_of_strings,
    "name": datatypes.process_or_group_name,
    "environment": lambda text: list(map(list, datatypes.dict_of_key_value_pairs(text).items())),
    "split": lambda text: shlex.split(text),
    "repr": repr,
    "dirname": os.path.dirname,
    "normpath": os.path.normpath,
}


def answer(ask):
    try:
        return ["ok", ask()]
    except UnicodeDecodeError as why:
        return ["error", str(why)]
    except configparser.Error as why:
        return ["error", type(why).__name__]
    except (ValueError, OverflowError) as why:
        return ["error", str(why)]


def main():
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(answer(lambda: QUESTIONS[name](*arguments))), flush=True)


if __name__ == "__main__":
    main()
