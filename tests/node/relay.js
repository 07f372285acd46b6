// nodemailer's smtp-server as a relay on a free port of 127.0.0.1. Its one argument is JSON; it prints its port.
//
// folder   where each mail is kept: N.eml as it came, and N.json with what was known of its sending
// users    name → password; who is in there must log in before sending
// replies  instead of a yes: by the stage "auth" or "data", or by the address of a sender or recipient
// delay    milliseconds before each answer to connecting, MAIL and RCPT
// the rest goes to SMTPServer as it is: secure, size, hideSTARTTLS, hide8BITMIME, authMethods, allowInsecureAuth …
const fs = require('node:fs');
const path = require('node:path');
const { SMTPServer } = require('smtp-server');

const { folder, users, replies = {}, delay = 0, chain, ...options } = JSON.parse(process.argv[2]);
let count = 0;

function answer(key, callback) {
    const [, code, text] = /^(\d{3}) (.*)$/s.exec(replies[key] || '') || [];
    const error = code ? Object.assign(new Error(text), { responseCode: Number(code) }) : null;
    setTimeout(callback, delay, error);
}

function keep(stream, session, callback) {
    const chunks = [];
    stream.on('data', chunk => chunks.push(chunk));
    stream.on('end', () => {
        const name = path.join(folder, String((count += 1)));
        const { mailFrom, rcptTo, bodyType, smtpUtf8 } = session.envelope;
        const known = {
            sender: mailFrom.address, recipients: rcptTo.map(each => each.address), bodyType, smtpUtf8,
            user: session.user || '', secure: session.secure, hello: session.hostNameAppearsAs
        };
        fs.writeFileSync(`${name}.eml`, Buffer.concat(chunks));
        fs.writeFileSync(`${name}.json`, JSON.stringify(known));
        answer('data', callback);
    });
}

const server = new SMTPServer({
    key: fs.readFileSync(chain),
    cert: fs.readFileSync(chain),
    name: 'mx.example.test',
    authOptional: !users,
    disabledCommands: users ? [] : ['AUTH'],
    disableReverseLookup: true,
    closeTimeout: 100,
    ...options,
    onAuth({ username, password, validatePassword }, session, callback) {
        if (replies.auth) return answer('auth', callback);
        const right = validatePassword ? validatePassword(users[username]) : password === users[username];
        return callback(null, right ? { user: username } : {});
    },
    onConnect: (session, callback) => answer('connect', callback),
    onMailFrom: ({ address }, session, callback) => answer(address, callback),
    onRcptTo: ({ address }, session, callback) => answer(address, callback),
    onData: keep
});
server.on('error', () => {}); // a client that hangs up is none of ours
server.listen(0, '127.0.0.1', () => console.log(server.server.address().port));
