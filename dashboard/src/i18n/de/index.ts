/** German: the files of `../en/` with other words. */

import type { Messages } from '..'
import { access } from './access'
import { alerts } from './alerts'
import { bulk } from './bulk'
import { channels } from './channels'
import { common } from './common'
import { errors } from './errors'
import { events } from './events'
import { fleet } from './fleet'
import { host } from './host'
import { login } from './login'
import { rules } from './rules'
import { shell } from './shell'
import { table } from './table'
import { time } from './time'

export const de: Messages = {
  access,
  alerts,
  bulk,
  channels,
  common,
  errors,
  events,
  fleet,
  host,
  login,
  rules,
  shell,
  table,
  time,
}
