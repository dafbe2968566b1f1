<?php
error_log("served " . $_SERVER["REQUEST_URI"]);
header("Content-Type: text/plain");
echo "hello from php ", PHP_VERSION, "\n";
