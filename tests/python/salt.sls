#!jinja|yaml
# The steps of tests/compliance/ansible_and_salt.rs for Salt: its state, and each function of its module. {dir} is filled in. A step may
# fail, since its answer is compared.
{%- set conf = "- conf_file: {dir}/supervisord.conf" %}

{%- for title, state, name, restart in [
    ("a runs already", "running", "a", false),
    ("a is dead", "dead", "a", false),
    ("a is dead already", "dead", "a", false),
    ("a runs", "running", "a", false),
    ("a is restarted", "running", "a", true),
    ("the group runs", "running", "g:", false),
    ("the group runs already", "running", "g:", false),
    ("one of the group is dead", "dead", "g:b", false),
    ("the rest of the group runs", "running", "g:*", false),
    ("the group is restarted", "running", "g:", true),
    ("nobody runs", "running", "nobody", false),
    ("nobody is dead", "dead", "nobody", false),
    ("broken runs", "running", "broken", false),
] %}
{{ title }}:
  supervisord.{{ state }}:
    - name: "{{ name }}"
    {%- if restart %}
    - restart: true
    {%- endif %}
    {{ conf }}
{%- endfor %}

a new program:
  file.append:
    - name: {dir}/supervisord.conf
    - text: |
        [program:new]
        command=/bin/sleep 1000
        autostart=false
  supervisord.running:
    - name: new
    {{ conf }}

it changes:
  file.replace:
    - name: {dir}/supervisord.conf
    - pattern: sleep 1000$
    - repl: sleep 2000
  supervisord.running:
    - name: new
    - update: true
    {{ conf }}

it runs after that:
  supervisord.running:
    - name: new
    {{ conf }}

a file of its own:
  file.append:
    - name: {dir}/watched
    - text: something new
  supervisord.running:
    - name: a
    {{ conf }}
    - watch:
      - file: {dir}/watched

{%- for function, arguments in [
    ("status", {}),
    ("status_raw", {"name": "a"}),
    ("status_raw", {"name": "nobody"}),
    ("status_bool", {"name": "a"}),
    ("status_bool", {"name": "a", "expected_state": "STOPPED"}),
    ("status_bool", {"name": "nobody"}),
    ("stop", {"name": "a"}),
    ("stop", {"name": "a"}),
    ("start", {"name": "a"}),
    ("start", {"name": "a", "bin_env": "{dir}/client/supervisorctl"}),
    ("start", {"name": "g:*"}),
    ("start", {"name": "nobody"}),
    ("start", {"name": "broken"}),
    ("restart", {"name": "a"}),
    ("restart", {"name": "g:c"}),
    ("custom", {"command": "signal CONT a"}),
    ("custom", {"command": "avail"}),
    ("custom", {"command": "version"}),
    ("custom", {"command": "mstop '*'"}),
    ("reread", {}),
    ("update", {}),
    ("update", {"name": "new"}),
    ("remove", {"name": "new"}),
    ("stop", {"name": "new"}),
    ("remove", {"name": "new"}),
    ("remove", {"name": "new"}),
    ("add", {"name": "new"}),
    ("add", {"name": "new"}),
    ("add", {"name": "nobody"}),
    ("stop", {"name": "a"}),
    ("stop", {"name": "g:c"}),
    ("stop", {"name": "g:"}),
    ("stop", {}),
    ("status", {}),
] %}
{{ loop.index }} {{ function }}:
  module.run:
    - supervisord.{{ function }}:
      {{ conf }}
      {%- for key, value in arguments.items() %}
      - {{ key }}: "{{ value }}"
      {%- endfor %}
{%- endfor %}
